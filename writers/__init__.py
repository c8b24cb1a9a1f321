"""The writers: stores shares in Redis, one process for each."""
