"""Benchmarks of the server against baselines, run in turns: `python -m benchmarks`."""
