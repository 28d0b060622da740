"""Panels of the preference page, one module a view."""
