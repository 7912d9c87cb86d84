"""Tokens of other issuers, and the rules by which organizations trust them.

Read ``rule`` (the claims that a rule demands), ``issuer_tokens`` (the rule that accepts a token) and ``issuer_keys``
(the issuer's keys) in this order. Every such token passes ``IssuerTokens.verify_token``: a client's token with its
agent's rules (``oauth/federated_token.py``), the token of a subject without an agent with provisioning rules
(``oauth/first_sight.py``), and the subject's token of an exchange with delegation rules (``oauth/token_exchange.py``).
"""
