"""The operator's work on a whole instance: check, backup, restore and erasure."""
