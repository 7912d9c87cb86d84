"""Authenticate clients by tokens of other issuers that their rules trust (RFC 7523)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION
from agentidp.db.sql import Rows
from agentidp.federation.issuer_keys import KeysUnavailable
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, TOO_MANY_RULES, Candidate, IssuerToken, Verdict
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
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

logger = logging.getLogger("agentidp")


def verify_for_client(services: Services, token: IssuerToken, client: Client, at: datetime) -> Client:
    """Verify a token by the rules of trust of the client that the request names.

    The rules by which the client's last token was accepted are tried first. The statement that issues the token checks
    that a valid credential still has the rule.

    :returns: the client with the rule that accepts the token or, if no rule does, with the reason as its ``refusal``.
    """
    organization_id, memory_key = client.organization_id, (client.agent_id, token.issuers)

    def read_rules() -> list[Candidate]:
        rule_rows = services.database.of(organization_id, at).fetch(
            "oauth/client_rules",
            agent_id=client.agent_id,
            issuers=list(token.issuers),
            selectors=token.rule_selectors,
            max_characters=MAX_CHARACTERS,
        )
        return build_candidates(services, organization_id, rule_rows)

    verdict, is_from_memory = try_remembered_rules(services, token, client, at, key=memory_key, read_rules=read_rules)
    if not verdict.accepting:
        return replace(client, refusal=verdict.find_most_specific_refusal())

    def verify_again() -> Client:
        services.issuer_tokens.rule_cache.forget(organization_id, memory_key)
        return verify_for_client(services, token, client, at)

    return replace(
        client,
        key_or_rule=verdict.accepting[0].rule_json,
        refusal=None,
        verify_again=verify_again if is_from_memory else None,
    )


def find_client(services: Services, token: IssuerToken, organization_id: str, rows: Rows, at: datetime) -> Client:
    """Return the client whose rule trusts a token that was sent without ``client_id``.

    :param rows: the result of ``sql/oauth/trusting_rules.sql`` for the organization in the token's audience.
    :returns: the client with the rule that accepts the token. Without such a rule, the client with the reason as its
        ``refusal`` if a single agent has all rules that match the token's claims or, if no rule matches, all rules that
        name the token's subject. Otherwise, an unknown client.
    """
    unknown_client = Client(UNKNOWN_ORGANIZATION, UNKNOWN_AGENT, is_federated=True)
    candidates = build_candidates(services, organization_id, rows)
    if any(candidate.rule is None for candidate in candidates):
        return replace(unknown_client, refusal=TOO_MANY_RULES)
    client = replace(unknown_client, organization_id=organization_id)
    verdict = try_rules(services, token, candidates, client, at, tries_every_agent=True, is_last=False)
    agent_ids = {
        candidate.agent_id
        for candidate in candidates
        if candidate.rule and candidate.rule.is_met_by(token.prepared_claims)
    }
    if len(verdict.accepting) > 1:
        return replace(unknown_client, refusal=SEVERAL_AGENTS)
    if len(agent_ids) > 1 and verdict.has_untried_keys:
        return replace(unknown_client, refusal=TOO_MANY_RULES)
    if verdict.accepting:
        [accepting_candidate] = verdict.accepting
        return replace(client, agent_id=accepting_candidate.agent_id, key_or_rule=accepting_candidate.rule_json)
    # If no rule matches the claims, the failure belongs to the agent whose rule names the token's subject or a pattern
    # for it. Rules for all subjects are left out.
    agent_ids = agent_ids or {
        candidate.agent_id for candidate in candidates if candidate.rule and candidate.rule.subject is not None
    }
    if len(agent_ids) != 1:
        return unknown_client
    [agent_id] = agent_ids
    return replace(client, agent_id=agent_id, refusal=verdict.find_most_specific_refusal(agent_id))


def build_candidates(services: Services, organization_id: str, rows: Rows) -> list[Candidate]:
    """Return the rules of trust in rows with the columns ``agent_id``, ``trust`` (text) and ``is_in_force``."""
    parse_rule = services.issuer_tokens.parse_rule
    return [
        Candidate(row.trust and parse_rule(organization_id, row.trust), row.agent_id, is_in_force=row.is_in_force)
        for row in rows
    ]


def try_remembered_rules(
    services: Services,
    token: IssuerToken,
    client: Client,
    at: datetime,
    *,
    key: Hashable,
    read_rules: Callable[[], list[Candidate]],
    is_preferred: Callable[[Candidate], bool] = lambda _: True,
) -> tuple[Verdict, bool]:
    """Verify a token by the rules in memory or, if none of them accepts the token, by the stored rules.

    :param key: the key of the rules in memory, in the client's organization.
    :param read_rules: returns the stored rules, the oldest first.
    :param is_preferred: whether a rule is tried before the others. Only preferred rules are tried from memory.
    :returns: the verdict, and whether only rules in memory were tried.
    """
    rule_cache, organization_id = services.issuer_tokens.rule_cache, client.organization_id
    stored_rules: list[Candidate] = []

    def list_candidates() -> Iterator[Candidate]:
        remembered_rules = [candidate for candidate in rule_cache.get(organization_id, key) if is_preferred(candidate)]
        yield from remembered_rules
        stored_rules.extend(read_rules())
        yield from sorted(
            (candidate for candidate in stored_rules if candidate not in remembered_rules),
            key=lambda candidate: not is_preferred(candidate),
        )

    verdict = try_rules(services, token, list_candidates(), client, at)
    if verdict.accepting and stored_rules:
        # Rules are remembered only for an accepted token, so that rejected tokens cannot fill the memory.
        character_count = len(repr(key)) + sum(candidate.character_count for candidate in stored_rules)
        rule_cache.put(organization_id, key, stored_rules, characters=character_count)
    return verdict, not stored_rules


def try_rules(
    services: Services,
    token: IssuerToken,
    candidates: Iterable[Candidate],
    client: Client,
    at: datetime,
    **options: bool,
) -> Verdict:
    """Return the result of :meth:`IssuerTokens.verify_token` for a client.

    :raises OAuthError: the keys of an issuer cannot be read now. Nothing is counted or throttled.
    """
    organization_id = client.organization_id
    try:
        return services.issuer_tokens.verify_token(token, candidates, at, organization_id=organization_id, **options)
    except KeysUnavailable as error:
        agent_id = error.agent_id or client.agent_id
        agent_label = str(agent_id) if agent_id != UNKNOWN_AGENT else None
        context = current_context()
        # The log line of the whole request also shows these two ids.
        context.organization_id, context.agent_id = organization_id, agent_label
        log_fields = {"organization": organization_id, "agent": agent_label, "issuer": error.issuer}
        logger.warning("token not judged", extra={"fields": log_fields | {"reason": str(error)}})
        raise OAuthError(
            "temporarily_unavailable",
            "the keys of the token's issuer cannot be read now; try again",
            status=503,
            headers={"Retry-After": str(math.ceil(error.retry_after))},
        ) from None
