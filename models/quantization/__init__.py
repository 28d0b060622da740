"""Quantization: formats of numbers, of weights and of whole networks."""
