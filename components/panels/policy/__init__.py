"""Panels of the policy page, one module a view."""
