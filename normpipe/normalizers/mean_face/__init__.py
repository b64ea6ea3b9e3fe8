"""The embedded default normalizer: geometry and detail of the source drawn on an average of many faces."""
