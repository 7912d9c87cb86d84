"""Tokens of other issuers, and the rules by which organizations trust them.

A rule is JSON in the column ``trust`` of a credential, a delegation rule or a provisioning rule:

| step | credential | delegation rule | provisioning rule |
|---|---|---|---|
| 1. check a new rule (``rule_checks``) | ``check_rule`` | ``check_delegation_rule`` | ``check_provisioning_rule`` |
| 2. read the rules | ``client_rules``, ``trusting_rules`` | ``delegation_rules`` | ``provisioning_rules`` |
| 3. keep the rules in memory | per agent and issuers | per credential and ``aud`` | no |
| 4. make a ``Candidate`` of | the credential's agent | the acting agent | no agent |
| 5. find the rule again | JSON (``issue_token``) | ID (``chain_refusal``) | ID (``create_agent_at_first_sight``) |

The statements of step 2 are in ``sql/oauth``. In step 4, ``IssuerTokens.parse_rule`` makes a ``Rule`` of the JSON, and
``verify_token`` compares the candidates with the token. In step 5, the transaction that issues the token or creates the
agent finds the rule by its JSON or ID, because the rule may have been deleted.

Read ``rule`` and ``issuer_tokens``, then ``oauth/federated_token.py`` and ``oauth/token_exchange.py``. The modules
``key_set``, ``issuer_keys`` and ``issuer_documents`` select, cache and fetch keys. ``rule_checks``, ``platforms`` and
``presets`` are about new rules.
"""
