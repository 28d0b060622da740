"""Learning from preferences: DPO and its relatives, reward models."""
