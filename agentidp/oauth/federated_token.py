"""Authenticate clients by tokens of other issuers that their rules trust (RFC 7523)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from agentidp.counting import UNKNOWN_AGENT, UNKNOWN_ORGANIZATION
from agentidp.db.sql import Call, Rows
from agentidp.federation.issuer_keys import KeysUnavailable
from agentidp.federation.issuer_tokens import MAX_CHARACTERS, TOO_MANY_RULES, Candidate, IssuerToken, Verdict
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.oauth.client_assertion import TYPE
from agentidp.oauth.issuance import Client
from agentidp.services import Services

SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
"""The type of a client assertion that is a JWT-SVID (draft-ietf-oauth-spiffe-client-auth)."""

ASSERTION_TYPES = (TYPE, SPIFFE_TYPE)

SEVERAL_AGENTS, REVOKED_RULE = REASONS = ("several agents trust the token", "revoked or expired rule")
"""Logged reasons for the rejection of an authentic token."""

UNCLEAR = (SEVERAL_AGENTS, TOO_MANY_RULES)
"""Logged reasons for which the request must choose an agent by ``client_id``."""

logger = logging.getLogger("agentidp")


def verify(s: Services, token: IssuerToken, named: Client, at: datetime) -> Client:
    """Verify a token by the rules of the client that a request names.

    The rules by which the client's last token was accepted are tried first, from memory. The statement that issues the
    token checks that a credential in force still has the rule.

    :returns: the client with the rule that accepts the token. Without such a rule the client has a reason, and the
        statement that issues the token finds nobody, as for a wrong secret.
    :raises OAuthError: as :func:`report_missing_keys`.
    """
    memory, organization_id, key = s.issuer_tokens.remembered, named.organization_id, (named.agent_id, token.issuers)
    stored: list[Candidate] = []

    def candidates() -> Iterator[Candidate]:
        remembered = memory.get(organization_id, key)
        yield from remembered
        rows = s.database.of(organization_id, at).fetch(
            "oauth/client_rules",
            agent_id=named.agent_id,
            issuers=list(token.issuers),
            selectors=token.selectors,
            max_characters=MAX_CHARACTERS,
        )
        stored.extend(candidates_of(s, organization_id, rows))
        yield from (candidate for candidate in stored if candidate not in remembered)

    verdict = try_rules(s, token, candidates(), named, at)
    accepting = next(iter(verdict.accepting), None)
    if accepting is not None and stored:
        characters = sum(len(candidate.text) for candidate in stored) + sum(map(len, token.issuers))
        memory.put(organization_id, key, stored, characters=characters)

    def verify_again() -> Client:
        memory.forget(organization_id, key)
        return verify(s, token, named, at)

    if accepting is None:
        return replace(named, refusal=verdict.refusal())
    return replace(named, key_or_rule=accepting.text, refusal=None, verify_again=None if stored else verify_again)


def trusting_rules_call(token: IssuerToken) -> Call:
    """Return the statement that reads an organization's rules for :func:`find_client`."""
    return Call("oauth/trusting_rules", {"selectors": token.selectors, "max_characters": MAX_CHARACTERS})


def find_client(s: Services, token: IssuerToken, organization_id: str, rows: Rows, at: datetime) -> Client:
    """Return the client whose rule trusts a token that was sent without ``client_id``.

    :param organization_id: the organization in the token's audience. No other organization's rules are read.
    :param rows: the result of :func:`trusting_rules_call`.
    :returns: the client with the rule that accepts the token; or the only agent that can be meant, with the reason why
        no rule accepts the token; or an unknown client.
    :raises OAuthError: as :func:`report_missing_keys`.
    """
    nobody = Client(UNKNOWN_ORGANIZATION, UNKNOWN_AGENT, is_federated=True)
    candidates = candidates_of(s, organization_id, rows)
    if any(candidate.rule is None for candidate in candidates):
        return replace(nobody, refusal=TOO_MANY_RULES)
    named = replace(nobody, organization_id=organization_id)
    verdict = try_rules(s, token, candidates, named, at, tries_every_owner=True, is_last=False)
    agent_ids = {c.owner for c in candidates if c.rule and c.rule.is_met_by(token.compared)}
    if len(verdict.accepting) > 1:
        return replace(nobody, refusal=SEVERAL_AGENTS)
    if len(agent_ids) > 1 and verdict.is_unfinished:
        return replace(nobody, refusal=TOO_MANY_RULES)
    if verdict.accepting:
        [accepting] = verdict.accepting
        return replace(named, agent_id=accepting.owner, key_or_rule=accepting.text)
    # If the token meets no rule, a failure names the agent that has a rule for its subject.
    agent_ids = agent_ids or {c.owner for c in candidates if c.rule and c.rule.subject is not None}
    if len(agent_ids) != 1:
        return nobody
    [agent_id] = agent_ids
    return replace(named, agent_id=agent_id, refusal=verdict.refusal(agent_id))


def candidates_of(s: Services, organization_id: str, rows: Rows) -> list[Candidate]:
    """Return the rules of trust in rows with ``agent_id``, ``trust`` as text, and ``is_in_force``."""
    return [
        Candidate(
            None if row.trust is None else s.issuer_tokens.rule(organization_id, row.trust),
            row.agent_id,
            is_in_force=row.is_in_force,
        )
        for row in rows
    ]


def try_rules(
    s: Services, token: IssuerToken, candidates: Iterable[Candidate], named: Client, at: datetime, **how: bool
) -> Verdict:
    """Verify a token by rules that might accept it for a client.

    :raises OAuthError: as :func:`report_missing_keys`.
    """
    try:
        return s.issuer_tokens.verify(token, candidates, at, organization_id=named.organization_id, **how)
    except KeysUnavailable as unavailable:
        raise report_missing_keys(replace(named, agent_id=unavailable.owner or named.agent_id), unavailable) from None


def report_missing_keys(named: Client, unavailable: KeysUnavailable) -> OAuthError:
    """Log a token that cannot be judged now, and return ``temporarily_unavailable`` with 503.

    This is not a failed authentication, so nothing is counted or throttled.

    :param named: the client whose rule might accept the token.
    """
    context, agent_id = current_context(), str(named.agent_id) if named.agent_id != UNKNOWN_AGENT else None
    # The request's log line has these fields.
    context.organization_id, context.agent_id = named.organization_id, agent_id
    fields = {"organization": named.organization_id, "agent": agent_id, "issuer": unavailable.issuer}
    logger.warning("token not judged", extra={"fields": fields | {"reason": str(unavailable)}})
    return OAuthError(
        "temporarily_unavailable",
        "the keys of the issuer of the token are not known now; try again",
        status=503,
        headers={"Retry-After": str(math.ceil(unavailable.retry_after))},
    )
