"""Tokens of other issuers, and the rules by which organizations trust them.

A rule of trust takes these forms, in this order:

1. the body of a request, which :class:`agentidp.registry.credentials.RuleSchema` loads into a dictionary
2. a checked dictionary, which :mod:`agentidp.federation.rule_checks` returns, and the column ``trust`` stores as JSON
3. a :class:`agentidp.federation.rule.Rule`, which ``IssuerTokens.parse_rule`` makes from this JSON, and caches
4. a :class:`agentidp.federation.issuer_tokens.Candidate`: the rule and its agent, to be compared with a token
5. the JSON again, which ``issue_token`` compares with the agent's credentials, because the rule may have been revoked,
   or the ID of a delegation rule, for the same reason

Read ``rule``, ``issuer_tokens``, ``key_set`` and ``issuer_keys`` in this order. Read ``issuer_documents`` only to learn
how keys are fetched, and ``rule_checks``, ``platforms`` and ``presets`` only to learn how rules are written.
"""
