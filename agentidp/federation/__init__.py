"""Tokens of other issuers, and the rules by which organizations trust them.

A rule is JSON in the column ``trust`` of a credential, a delegation rule or a provisioning rule:

| step | credential | delegation rule | provisioning rule |
|---|---|---|---|
| 1. check a new rule (``rule_checks``) | ``check_rule`` | ``check_delegation_rule`` | ``check_provisioning_rule`` |
| 2. read the rules for a token from the | ``client_rules`` or | ``delegation_rules`` | ``provisioning_rules`` |
| database by a statement in ``sql/oauth`` | ``trusting_rules`` | | |
| 3. keep the rules in memory | per agent and issuers | per credential and ``aud`` | no |
| 4. make a ``Candidate`` of | the credential's agent | the acting agent | no agent |
| 5. check that the rule was not deleted, by | its JSON | its ID | its ID |
| the function | ``issue_token`` | ``chain_refusal`` | ``create_agent_at_first_sight`` |

In step 4, ``IssuerTokens.parse_rule`` makes a :class:`agentidp.federation.rule.Rule` of the JSON, and ``verify_token``
compares the candidates with the token. Step 5 is in the transaction that issues the token or creates the agent.

Read ``rule``, ``key_set``, ``issuer_keys`` and ``issuer_tokens`` in this order, then ``oauth/federated_token.py`` and
``oauth/token_exchange.py``. Read ``issuer_documents`` only to learn how keys are fetched, and ``rule_checks``,
``platforms`` and ``presets`` only to learn how rules are written.
"""
