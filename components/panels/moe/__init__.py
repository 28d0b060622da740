"""Panels of the mixture-of-experts page."""
