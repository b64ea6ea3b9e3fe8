"""Parquet shards: writing, reading, hashing, all atomic."""
