"""Panels of the LoRA page, one module a view."""
