"""Loupe in a real browser."""
