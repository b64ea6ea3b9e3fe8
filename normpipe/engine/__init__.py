"""Planning, executing and recording work on shards; knows nothing of faces."""
