"""Authenticate clients by tokens of other issuers that their rules trust (RFC 7523)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION
from agentidp.db.sql import Rows
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, TOO_MANY_RULES, Candidate, IssuerToken, TrustRulesKey
from agentidp.oauth.client import Client
from agentidp.oauth.client_assertion import TYPE
from agentidp.services import Services

SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
"""The type of a client assertion that is a JWT-SVID (draft-ietf-oauth-spiffe-client-auth)."""

ASSERTION_TYPES = (TYPE, SPIFFE_TYPE)

SEVERAL_AGENTS, REVOKED_RULE = REASONS = ("several agents trust the token", "revoked or expired rule")
"""Logged reasons why a token of another issuer is rejected although its signature is valid."""

UNCLEAR = (SEVERAL_AGENTS, TOO_MANY_RULES)
"""Logged reasons after which the request must be repeated with the ``client_id`` of an agent."""


def verify_for_client(services: Services, token: IssuerToken, client: Client, at: datetime) -> Client:
    """Verify a token by the rules of trust of the client that the request names.

    The rules by which the client's last token was accepted are tried first. The statement that issues the token checks
    that a valid credential still has the rule.

    :returns: the client with the rule that accepts the token or, if no rule does, with the reason as its ``refusal``.
    """
    issuer_tokens, organization_id = services.issuer_tokens, client.organization_id
    memory_key = TrustRulesKey(client.agent_id, token.issuers)

    def read_rules() -> list[Candidate]:
        rule_rows = services.database.of(organization_id, at).fetch(
            "oauth/client_rules",
            agent_id=client.agent_id,
            issuers=list(token.issuers),
            selectors=token.rule_selectors,
            max_characters=MAX_CHARACTERS,
        )
        return _build_candidates(services, organization_id, rule_rows)

    verdict, is_from_memory = issuer_tokens.verify_by_remembered_rules(
        token, at, organization_id=organization_id, key=memory_key, read_rules=read_rules
    )
    if not verdict.accepting:
        return replace(client, refusal=verdict.find_most_specific_refusal())

    def verify_again() -> Client:
        issuer_tokens.rule_cache.forget(organization_id, memory_key)
        return verify_for_client(services, token, client, at)

    return replace(
        client,
        key_or_rule=verdict.accepting[0].rule_json,
        refusal=None,
        verify_again=verify_again if is_from_memory else None,
    )


def find_client(services: Services, token: IssuerToken, organization_id: str, rule_rows: Rows, at: datetime) -> Client:
    """Return the client whose rule trusts a token that was sent without ``client_id``.

    :param rule_rows: the result of ``sql/oauth/trusting_rules.sql`` for the organization in the token's audience.
    :returns: the client with the rule that accepts the token. If no rule does, the client of the only agent whose
        rules match the token's claims (or, if none match, name the token's subject), with the reason as its
        ``refusal``. Otherwise, an unknown client.
    """
    unknown_client = Client(UNKNOWN_ORGANIZATION, UNKNOWN_AGENT, is_federated=True)
    candidates = _build_candidates(services, organization_id, rule_rows)
    if any(candidate.rule is None for candidate in candidates):
        return replace(unknown_client, refusal=TOO_MANY_RULES)
    client = replace(unknown_client, organization_id=organization_id)
    verdict = services.issuer_tokens.verify_token(
        token, candidates, at, organization_id=organization_id, tries_every_agent=True, is_last=False
    )
    matching_agent_ids = {
        candidate.agent_id
        for candidate in candidates
        if candidate.rule and candidate.rule.is_met_by(token.prepared_claims)
    }
    if len(verdict.accepting) > 1:
        return replace(unknown_client, refusal=SEVERAL_AGENTS)
    if len(matching_agent_ids) > 1 and verdict.has_untried_keys:
        return replace(unknown_client, refusal=TOO_MANY_RULES)
    if verdict.accepting:
        [accepting_candidate] = verdict.accepting
        return replace(client, agent_id=accepting_candidate.agent_id, key_or_rule=accepting_candidate.rule_json)
    # If no rule matches the claims, the failure belongs to the agent whose rule names the token's subject or a pattern
    # for it. Rules for all subjects are left out.
    possible_agent_ids = matching_agent_ids or {
        candidate.agent_id for candidate in candidates if candidate.rule and candidate.rule.subject is not None
    }
    if len(possible_agent_ids) != 1:
        return unknown_client
    [agent_id] = possible_agent_ids
    return replace(client, agent_id=agent_id, refusal=verdict.find_most_specific_refusal(agent_id))


def _build_candidates(services: Services, organization_id: str, rule_rows: Rows) -> list[Candidate]:
    """Return the rules of trust in rows with the columns ``agent_id``, ``trust`` (text) and ``is_in_force``."""
    parse_rule = services.issuer_tokens.parse_rule
    return [
        Candidate(row.trust and parse_rule(organization_id, row.trust), row.agent_id, is_in_force=row.is_in_force)
        for row in rule_rows
    ]
