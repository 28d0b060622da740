"""What several topics compute with: comparisons, masked softmax, costs of attention, NF4."""
