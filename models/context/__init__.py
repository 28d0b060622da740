"""Texts longer than those a network was trained on."""
