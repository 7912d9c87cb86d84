"""Tokens of other issuers: which an agent trusts, and the keys that verify them. No Flask."""
