"""What Loupe must reach, measured beside a reference in the same run: ``python -m tests.benchmarks``."""
