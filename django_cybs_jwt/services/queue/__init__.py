"""The queue: from a stored request to the gateway's answer. docs/queue.md is its map."""
