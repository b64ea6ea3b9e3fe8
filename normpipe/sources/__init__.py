"""Datasets on disk become manifests."""

from normpipe.sources.inputs import manifest_for_input
from normpipe.sources.root import Root

__all__ = ["Root", "manifest_for_input"]
