"""Releases: finished runs as a dataset that anyone can load, verify and trust."""
