"""Policy gradients: advantages, losses, estimators of the KL divergence."""
