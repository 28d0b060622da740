"""Panels of the masks page."""
