"""Rotary position embedding and how it is scaled: what positions, context and networks need."""
