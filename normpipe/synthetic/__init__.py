"""Synthetic heads with exact truth: a morphable rig, its paint and a renderer, for tests, benchmarks and training."""
