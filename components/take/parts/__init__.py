"""What scripts are made of besides our own numbers: plain Python with published packages alone."""
