"""Weights and arrays: what ships with the package, and the store of models pulled on request."""
