"""Datasets on disk become manifests."""
