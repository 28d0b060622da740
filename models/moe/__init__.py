"""Mixtures of experts: routers, balance, capacity, and real networks."""
