"""Panels of the context page."""
