"""Tokens of other issuers, and the rules by which organizations trust them.

Read :mod:`~agentidp.federation.rule` (which claims a rule demands), :mod:`~agentidp.federation.issuer_tokens` (which rule
accepts a token) and :mod:`~agentidp.federation.issuer_keys` (the issuer's keys) in this order. Every such token passes
``IssuerTokens.verify``: a client's token with its agent's rules (``oauth/federated_token.py``), the token of a subject
without an agent with provisioning rules (``oauth/first_sight.py``), and the subject's token of an exchange with
delegation rules (``oauth/token_exchange.py``).
"""
