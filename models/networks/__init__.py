"""Real networks: catalogue, loading, tracing and training."""
