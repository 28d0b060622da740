"""The panels of the positions page, one a view."""
