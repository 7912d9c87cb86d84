"""Tokens of other issuers, by which an agent authenticates because one of its rules trusts them (RFC 7523).

A platform's token may be used as often as the client likes until it expires: a pod gets one for an hour, and a token of
this kind need not have a ``jti``. The audience is the rule's. The keys are those of the rule's issuer, and of nobody
else who says that it is the same issuer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from agentidp.counting import UNKNOWN_AGENT
from agentidp.db.sql import Call, Rows
from agentidp.federation.issuer_keys import KeysUnavailable
from agentidp.federation.rule import SPIFFE, Rule, found_by, issuers_of
from agentidp.federation.rule_checks import possible_subjects
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.jose.jwk import ALGORITHMS, key_algorithm
from agentidp.jose.jws import UnverifiedJwt, read_unverified
from agentidp.oauth.client_assertion import MAX_LENGTH, NOBODYS_KEYS, TYPE, WRONG_SIGNATURE, wrong_time
from agentidp.oauth.issuance import Client
from agentidp.services import Services

SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
"""The type of a client assertion that is a JWT-SVID (draft-ietf-oauth-spiffe-client-auth)."""

ASSERTION_TYPES = (TYPE, SPIFFE_TYPE)
"""What ``client_assertion_type`` may be."""

TYPES = (None, "jwt", "jose", "at+jwt", "application/at+jwt", "client-authentication+jwt")
"""Values of ``typ``, in lower case. SPIFFE has ``JOSE``; an access token of another server is ``at+jwt`` (RFC 9068)."""

MAX_LIFETIME = 86_400
"""Seconds until ``exp``. Platforms give tokens for an hour, some for a day. A Kubernetes token without an end, as old
clusters stored them, is a secret, and refused."""

NO_RULE, SEVERAL_AGENTS, TOO_MANY_RULES, NO_MATCH, WRONG_AUDIENCE, UNKNOWN_KEY, REVOKED_RULE = REASONS = (
    "no rule of trust",
    "several agents trust the token",
    "too many rules for the token",
    "token matches no rule",
    "wrong audience",
    "unknown key",
    "revoked or expired rule",
)
"""Why a token is rejected, beside its signature and its times, in the words of the log."""


MAX_SIGNATURES = 20
"""Keys that a token is verified with in a request, whosever rules have them, which limits the cost of a failure."""

MAX_RULES = 200
"""Rules of an organization that a token which comes without ``client_id`` is compared with."""

logger = logging.getLogger("agentidp")


class ClientUnclear(Exception):
    """Only ``client_id`` can say which agent is meant. The message is why, in the words of the log."""


def read(text: str) -> UnverifiedJwt | None:
    """A token before its signature is verified, or ``None`` if it is not one that can be accepted."""
    unverified = read_unverified(text, max_length=MAX_LENGTH, types=TYPES, algorithms=ALGORITHMS)
    # A security event (RFC 8417 section 2.2), such as that somebody has signed out. Not every issuer says so by typ.
    return None if unverified is None or "events" in unverified.claims else unverified


def issuers(s: Services, unverified: UnverifiedJwt, *, is_svid: bool) -> tuple[str, ...]:
    """Whose token it may be. A token of this server is nobody's.

    :param is_svid: it was sent as a JWT-SVID, whose issuer is the trust domain and nobody else.
    """
    named = issuers_of(unverified.claims)
    if s.settings.issuer in named:
        return ()
    return tuple(one for one in named if one.startswith(SPIFFE)) if is_svid else named


def verify(s: Services, unverified: UnverifiedJwt, named: Client, at: datetime, *, is_svid: bool) -> Client:
    """Verify a token by the rules of the client that a request names.

    The rules by which the client's last token was accepted are tried first, from memory. The statement that issues the
    token checks that a credential in force still has the rule.

    :returns: the client, with the rule that has accepted the token, or with none and a reason: the statement that
        issues the token then finds nobody, as for a wrong secret.
    :raises OAuthError: as :func:`accept`.
    """
    of = issuers(s, unverified, is_svid=is_svid)
    key = named.agent_id, of
    remembered = s.client_rules.get(key)
    stored: list[Rule] = []

    def rules() -> Iterator[Rule]:
        yield from remembered
        stored.extend(_rules(s, named, of, at))
        known = {rule.text for rule in remembered}
        yield from (rule for rule in stored if rule.text not in known)

    accepted, refusal = accept(s, named, unverified, rules(), at)
    if accepted is not None and stored:
        # Only an authentic token adds them.
        characters = sum(len(rule.text) for rule in stored) + sum(map(len, of))
        s.client_rules.put(key, stored, characters=characters)

    def anew() -> Client:
        s.client_rules.forget(key)
        return verify(s, unverified, named, at, is_svid=is_svid)

    is_from_memory = accepted is not None and not stored
    text = None if accepted is None else accepted.text
    return replace(named, jwk=text, refusal=refusal, anew=anew if is_from_memory else None)


def trusting_rules(unverified: UnverifiedJwt, of: tuple[str, ...]) -> Call:
    """The statement that reads an organization's rules for :func:`find_client`.

    :param of: whose token it may be.
    """
    subjects = possible_subjects(unverified.claims.get("sub"))
    selectors = [found_by(issuer, subject) for issuer in of for subject in subjects]
    return Call("oauth/trusting_rules", {"selectors": selectors, "most": MAX_RULES + 1})


def find_client(
    s: Services, unverified: UnverifiedJwt, nobody: Client, organization_id: str, rows: Rows, at: datetime
) -> Client:
    """Find the client whose rule trusts a token that comes without ``client_id``.

    :param nobody: what is returned if no agent can be named.
    :param organization_id: the only organization that is looked at.
    :param rows: what :func:`trusting_rules` has read of it.
    :returns: the client, with the rule that has accepted the token; or with the reason why none has, if only one agent
        can be meant.
    :raises ClientUnclear: more than one agent trusts the token, or there are too many rules to find that out.
    :raises OAuthError: as :func:`accept`, if none is known to trust it.
    """
    if len(rows) > MAX_RULES:
        raise ClientUnclear(TOO_MANY_RULES)
    read_rules = [(row, Rule.of(row.trust)) for row in rows]
    met = [(row, rule) for row, rule in read_rules if rule.is_met_by(unverified.claims)]
    rules: dict[UUID, list[Rule]] = {}
    # If none is met, a failure names the agent that has a rule for this subject.
    for row, rule in met or [(row, rule) for row, rule in read_rules if rule.subject is not None]:
        rules.setdefault(row.agent_id, []).extend([rule] if row.is_in_force else [])
    found, missing = [], None
    for agent_id, own in rules.items():
        named = replace(nobody, organization_id=organization_id, agent_id=agent_id)
        try:
            accepted, refusal = accept(s, named, unverified, own, at)
        except OAuthError as error:
            missing = error
            continue
        found.append(replace(named, jwk=None if accepted is None else accepted.text, refusal=refusal))
    trusting = [client for client in found if client.jwk is not None]
    if len(trusting) > 1:
        raise ClientUnclear(SEVERAL_AGENTS)
    if len(rules) > 1 and len(unverified.tried) >= MAX_SIGNATURES:
        raise ClientUnclear(TOO_MANY_RULES)
    if not trusting and missing is not None:
        raise missing
    return trusting[0] if trusting else found[0] if len(found) == 1 else nobody


def _rules(s: Services, named: Client, of: tuple[str, ...], at: datetime) -> list[Rule]:
    """The rules of a client about these issuers, as the database has them now."""
    rows = s.database.of(named.organization_id, at).fetch(
        "oauth/client_rules", agent_id=named.agent_id, issuers=list(of)
    )
    return [Rule.of(row.trust) for row in rows]


def accept(
    s: Services, named: Client, unverified: UnverifiedJwt, rules: Iterable[Rule], at: datetime
) -> tuple[Rule | None, str | None]:
    """The rule that accepts a token, or the reason why none does, in the words of the log: that of the rule which comes
    nearest. A failure verifies a signature too, so that it takes as long.

    :raises OAuthError: ``temporarily_unavailable`` with 503: only a rule might accept it whose keys are not there now.
    """
    refusal, distance, missing = NO_RULE, 4, None
    for rule in rules:
        reason, how_far = NO_MATCH, 3
        if rule.is_met_by(unverified.claims):
            try:
                keys = keys_of(s, rule, unverified, named.organization_id)
            except KeysUnavailable as unavailable:
                missing = rule, unavailable
                continue
            reason, how_far = UNKNOWN_KEY, 1
            for key in keys[: max(0, MAX_SIGNATURES - len(unverified.tried))]:
                found = _refusal(unverified, key, at)
                if found is None:
                    if rule.inline_keys is None:
                        s.issuer_keys.verified(rule.key_source, organization_id=named.organization_id)
                    return rule, None
                reason, how_far = found, 0
        elif all(comparison.is_met for comparison in rule.compare(unverified.claims) if comparison.name != "audience"):
            reason, how_far = WRONG_AUDIENCE, 2
        if how_far < distance:
            refusal, distance = reason, how_far
    if missing is not None:
        raise _keys_missing(named, *missing)
    if not unverified.tried:
        unverified.is_signed_by(NOBODYS_KEYS[key_algorithm(unverified.alg)])
    return None, refusal


def keys_of(s: Services, rule: Rule, unverified: UnverifiedJwt, organization_id: str) -> list[object]:
    """The keys of a rule's issuer that may have signed a token.

    :param organization_id: whose rule it is.
    :raises KeysUnavailable: it cannot be said now.
    """
    kid, alg = unverified.kid, unverified.alg
    if rule.inline_keys is not None:
        return rule.inline_keys.find(kid, alg)
    return s.issuer_keys.find(rule.key_source, kid, alg, organization_id=organization_id)


def _keys_missing(named: Client, rule: Rule, missing: KeysUnavailable) -> OAuthError:
    """The error of a token that cannot be judged now, which is no failed authentication: it is logged, and counted for
    nobody.
    """
    context, agent_id = current_context(), str(named.agent_id) if named.agent_id != UNKNOWN_AGENT else None
    # For the line of the request.
    context.organization_id, context.agent_id = named.organization_id, agent_id
    fields = {"organization": named.organization_id, "agent": agent_id, "issuer": rule.issuer, "reason": str(missing)}
    logger.warning("token not judged", extra={"fields": fields})
    return OAuthError(
        "temporarily_unavailable",
        "the keys of the issuer of the token are not known now; try again",
        status=503,
        headers={"Retry-After": str(math.ceil(missing.retry_after))},
    )


def _refusal(unverified: UnverifiedJwt, key: object, at: datetime) -> str | None:
    """Why a token that a rule trusts is refused, in the words of the log; ``None`` if *key* has signed it and its times
    are right.
    """
    if not unverified.is_signed_by(key):
        return WRONG_SIGNATURE
    return wrong_time(unverified.claims, at.timestamp(), MAX_LIFETIME)
