"""Panels: a folder a topic, a module a view: its settings, what stands on its stage, what stands below."""
