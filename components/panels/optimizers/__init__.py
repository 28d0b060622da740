"""Panels of the optimizers page, one module a view."""
