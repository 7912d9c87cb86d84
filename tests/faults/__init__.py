"""The fault rig: real processes, a fault in the middle of a load, and a ledger of every response."""
