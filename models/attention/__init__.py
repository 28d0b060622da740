"""Attention: weights and outputs, softmax, depth, and what heads do."""
