"""``make bench``: the service beside a bare Flask route; docs/performance.md says how to read it."""
