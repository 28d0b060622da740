"""Optimizers, step by step and on surfaces, matrices and small networks."""
