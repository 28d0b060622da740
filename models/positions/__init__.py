"""Position encodings: added, biases on scores, rotary, and none."""
