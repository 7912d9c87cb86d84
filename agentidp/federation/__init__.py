"""Tokens of other issuers, and the rules by which organizations trust them.

Read ``rule``, ``issuer_tokens`` and ``issuer_keys`` in this order.
"""
