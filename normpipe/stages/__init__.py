"""The steps from a manifest row to a pair, each 1:1 but for detect. A stage knows nothing of Dask."""
