"""Masks: which key each query may read, in single texts, batches, packed rows and streams."""
