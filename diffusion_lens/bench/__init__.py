"""Benchmarks: the lens and learning beside the plain pipeline, and what the hardware allows."""
