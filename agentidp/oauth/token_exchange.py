"""Token exchange (RFC 8693): a client gets a token by which it acts for the subject of another token.

The client is the actor, whatever a token says. The subject's token is our token for the client, whose subject is an
agent, or another issuer's token that a delegation rule of the organization accepts.
``sql/functions/exchange_token.sql`` decides what depends on the database, in the transaction that counts the token.
Impersonation is impossible, because each token names its actors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.caller.token_verification import verify_token
from agentidp.counting import Rejection
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.federation.issuer_tokens import Candidate, IssuerToken
from agentidp.http.errors import OAuthError
from agentidp.jose.access_token import Ancestor, Delegation, TokenRefused
from agentidp.jose.dpop import Proof
from agentidp.oauth import federated_token, issuance
from agentidp.oauth.issuance import ISSUED_TOKEN_TYPE, Client, Grant
from agentidp.services import Services

TYPES = (
    ISSUED_TOKEN_TYPE,
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:jwt",
)
"""Values of ``subject_token_type`` (RFC 8693 section 3): for our tokens, and two for those of other issuers."""

MAX_SUBJECT = 255
"""Maximum characters of another issuer's ``sub``, which are printable ASCII (OpenID Connect Core section 2)."""

(
    UNREADABLE,
    INVALID,
    OTHER_ORGANIZATION,
    ENDED,
    TOO_LONG,
    HAS_ACT,
    OTHER_ACTOR,
    NO_SUBJECT,
    WRONG_ACTOR_TOKEN,
    OTHER_AUDIENCE,
    AUDIENCE_ENDED,
    SUBJECT_ENDED,
    REVOKED,
    NO_RULE,
    DELETED_RULE,
) = REASONS = (
    "unreadable subject token",
    "invalid subject token",
    "subject token of another organization",
    "subject token expired",
    "too many actors",
    "subject token has actors",
    "subject names another actor",
    "subject token without subject",
    "wrong actor token",
    "subject token for another",
    "audience ended",
    "subject or actor ended",
    "subject token revoked",
    "no delegation rule",
    "delegation rule deleted",
)
"""Logged reasons why a token is not acceptable. The database returns the last six."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject for whom a client may act according to the tokens.

    :param delegation: the delegation of the new token.
    :param ends_at: the expiry of the subject's token, in seconds since the epoch.
    :param is_bound: whether the subject's token is bound to a key, so that the new token must be bound too.
    :param actor_jtis: the ``jti`` of the actor's token, if it was sent.
    """

    delegation: Delegation
    ends_at: int
    is_bound: bool
    actor_jtis: tuple[str, ...] = ()


class NotAcceptable(Exception):
    """A token is not acceptable. The message is one of :data:`REASONS`, or a reason for a federated token."""


def check_form(form: dict[str, str], resource: str | None) -> str:
    """Check the parameters that do not depend on a token (RFC 8693 section 2.1), and return the resource.

    :param resource: the form's resource; ``None`` for our own API.
    :raises OAuthError: ``invalid_request`` for a missing or wrong parameter, ``invalid_target`` for our own API, at
        which nobody acts for another.
    """
    if resource is None:
        raise OAuthError(
            "invalid_target", "a token by exchange is for a resource server of the organization: name it by resource"
        )
    for name in ("subject_token", "subject_token_type"):
        if name not in form:
            raise OAuthError("invalid_request", f"{name} is missing")
    if form["subject_token_type"] not in TYPES:
        raise OAuthError("invalid_request", f"subject_token_type must be one of {', '.join(TYPES)}")
    if ("actor_token" in form) != ("actor_token_type" in form):
        raise OAuthError("invalid_request", "actor_token and actor_token_type must be there together")
    for name in ("actor_token_type", "requested_token_type"):
        if form.get(name, ISSUED_TOKEN_TYPE) != ISSUED_TOKEN_TYPE:
            raise OAuthError("invalid_request", f"{name} must be {ISSUED_TOKEN_TYPE}")
    return resource


def record_exchange(
    s: Services, database: OrganizationDatabase, form: dict[str, str], client: Client, call: Call, proof: Proof | None
) -> tuple[Grant | None, Subject | None]:
    """Do what :func:`agentidp.oauth.issuance.record_issuance` does, for the subject in the form.

    :param form: the parameters that :func:`check_form` has checked.
    :param client: the actor.
    :param call: the statement that issues a token without a subject.
    :returns: the grant and the subject.
    :raises OAuthError: also ``invalid_request`` for a token that is not acceptable.
    """
    subject, refusal = _read_subject(s, form, client, call, proof, database.at)
    try:
        return issuance.record_issuance(database, client, _exchanging(call, subject), proof), subject
    except issuance.SubjectRefused as refused:
        reason = refusal or str(refused)
    if reason == DELETED_RULE and s.issuer_tokens.remembered.forget(client.organization_id, client.credential):
        # The rule was remembered, so a stored rule may accept the token. This request has consumed the assertion.
        again = Call(call.name, call.parameters | {"digest": None, "expires_at": None})
        return record_exchange(s, database, form, client, again, proof)
    raise _refusal(s, database, client, reason)


def _read_subject(
    s: Services, form: dict[str, str], client: Client, call: Call, proof: Proof | None, at: datetime
) -> tuple[Subject | None, str | None]:
    """Verify the tokens of an exchange, and return the subject, or the logged reason for a refusal.

    :raises OAuthError: ``temporarily_unavailable`` with 503, because another issuer's keys are not there now.
    """
    try:
        if form["subject_token_type"] == ISSUED_TOKEN_TYPE:
            subject = _of_an_agent(form["subject_token"], client)
        else:
            subject = _of_another_issuer(s, form["subject_token"], client, call.parameters["resource"], at)
        if "actor_token" in form:
            subject = _with_actor_token(subject, form["actor_token"], client, proof)
    except NotAcceptable as found:
        return None, str(found)
    if subject.ends_at <= int(at.timestamp()):
        # No leeway applies, because the new token would have no lifetime.
        return None, ENDED
    return (None, TOO_LONG) if subject.delegation.is_too_long else (subject, None)


def _exchanging(issuing: Call, subject: Subject | None) -> Call:
    """Return the statement that authenticates a client, decides whether it may act for a subject, and counts the token.

    :param issuing: the statement without a subject.
    :param subject: ``None`` if a token is not acceptable. The statement then only authenticates the client.
    """
    delegation = Delegation((), (), None) if subject is None else subject.delegation
    issuer, _ = delegation.subject_id or (None, None)
    about: dict[str, Any] = {
        "subject_agent_id": delegation.agent_id,
        "issuer": issuer,
        "rule_id": delegation.rule_id,
        "agent_ids": delegation.agent_ids or None,
        "jtis": [*delegation.jtis, *(subject.actor_jtis if subject else ())],
        "ancestors": json.dumps(
            [{"aud": a.audience, "scope": a.scope, "resource": a.resource} for a in delegation.ancestors]
        ),
        "is_bound": subject is not None and subject.is_bound,
    }
    return Call("oauth/exchange_token", issuing.parameters | about)


def _refusal(s: Services, database: OrganizationDatabase, client: Client, reason: str) -> OAuthError:
    """Count and report a token that is not acceptable, and return the error, which hides the reason (section 2.2.2).

    This is not a failed authentication, so nothing is throttled: an agent exchanges tokens that others send, and they
    must not be able to lock it out.
    """
    rejection = Rejection(client.organization_id, client.agent_id, "subject token", reason)
    [[found], _] = database.run(*rejection.calls())
    rejection.report(found.reason)
    return OAuthError("invalid_request", "the subject token or the actor token is not acceptable")


def _of_an_agent(text: str, client: Client) -> Subject:
    # The database decides whether the token was made for the client.
    try:
        token = verify_token(text, audience=None)
    except TokenRefused:
        raise NotAcceptable(INVALID) from None
    if token.organization_id != client.organization_id:
        raise NotAcceptable(OTHER_ORGANIZATION)
    before = token.delegation or Delegation((), (), token.agent_id)
    exchanged = Ancestor(token.jti, token.audience, " ".join(sorted(token.scope)), token.resource)
    ancestors = (exchanged, *before.ancestors)
    actors = (client.agent_id, *before.actors)
    delegation = Delegation(actors, ancestors, before.agent_id, before.subject_id, before.rule_id)
    return Subject(delegation, token.expires_at, token.jkt is not None)


def _of_another_issuer(s: Services, text: str, client: Client, resource: str, at: datetime) -> Subject:
    token = s.issuer_tokens.read(text)
    if token is None:
        raise NotAcceptable(UNREADABLE)
    rule = _accepting_rule(s, token, client, resource, at)
    claims = token.claims
    if wrong := refusal_of_subject(claims, client.agent_id, s.settings.issuer):
        raise NotAcceptable(wrong)
    issuer = rule.trust["issuer"]
    delegation = Delegation((client.agent_id,), (), None, (issuer, claims["sub"]), rule.delegation_rule_id)
    return Subject(delegation, int(claims["exp"]), "cnf" in claims)


def refusal_of_subject(claims: dict[str, Any], agent_id: UUID, own_issuer: str) -> str | None:
    """Return why an agent may not act for the subject of a token that a delegation rule accepts, or ``None``."""
    subject = claims.get("sub")
    if "act" in claims:
        # We cannot verify the actors in another issuer's token.
        return HAS_ACT
    if "may_act" in claims and not _names(claims["may_act"], agent_id, own_issuer):
        return OTHER_ACTOR
    if not isinstance(subject, str) or not (
        1 <= len(subject) <= MAX_SUBJECT and subject.isascii() and subject.isprintable()
    ):
        return NO_SUBJECT
    return None


def _names(may_act: object, agent_id: UUID, own_issuer: str) -> bool:
    """Return whether a claim ``may_act`` names an agent (RFC 8693 section 4.4), whatever other members it has."""
    if not isinstance(may_act, dict) or may_act.get("iss", own_issuer) != own_issuer:
        return False
    named = [may_act[name] for name in ("sub", "client_id") if name in may_act]
    return bool(named) and all(name == str(agent_id) for name in named)


def _accepting_rule(s: Services, token: IssuerToken, client: Client, resource: str, at: datetime) -> Any:
    """Return the oldest delegation rule that accepts a token and has the resource, or else the oldest that accepts it.

    Rules with the resource are tried first from memory, if they were read for the same credential. The statement that
    issues the token checks that the rule still exists.
    """
    memory, organization_id = s.issuer_tokens.remembered, client.organization_id
    stored: list[Candidate] = []

    def candidates() -> Iterator[Candidate]:
        remembered = memory.get(organization_id, client.credential)
        yield from (candidate for candidate in remembered if resource in candidate.row.resources)
        stored.extend(_rules(s, client, at))
        yield from sorted(stored, key=lambda candidate: resource not in candidate.row.resources)

    verdict = federated_token.try_rules(s, token, candidates(), client, at)
    if not verdict.accepting:
        raise NotAcceptable(verdict.refusal())
    if stored:
        # Only an authentic token adds rules. A string takes about 100 bytes of memory in addition to its characters.
        texts = [name for candidate in stored for name in candidate.row.resources]
        texts += [candidate.text for candidate in stored]
        characters = len(client.key_or_rule or "") + sum(100 + len(text) for text in texts)
        memory.put(organization_id, client.credential, stored, characters=characters)
    return verdict.accepting[0].row


def _rules(s: Services, client: Client, at: datetime) -> list[Candidate]:
    """Return the stored rules by which an agent may act, oldest first.

    A client that is not authentic gets no rules, because effects such as a request for keys would reveal them.
    """
    rows = s.database.of(client.organization_id, at).fetch(
        "oauth/rules_for_actor", agent_id=client.agent_id, secret_hash=client.secret_hash, jwk=client.key_or_rule
    )
    # A rule without an audience demands a token for the agent that acts.
    texts = [json.dumps({"audience": str(client.agent_id)} | row.trust) for row in rows]
    return [
        Candidate(s.issuer_tokens.rule(client.organization_id, text), row=row)
        for text, row in zip(texts, rows, strict=True)
    ]


def _with_actor_token(subject: Subject, text: str, client: Client, proof: Proof | None) -> Subject:
    # The actor's token adds nothing to its authentication, so only the client's own token is accepted.
    try:
        token = verify_token(text, audience=None)
    except TokenRefused:
        raise NotAcceptable(WRONG_ACTOR_TOKEN) from None
    is_own = (token.organization_id, token.agent_id) == (client.organization_id, client.agent_id)
    if not is_own or token.delegation is not None or token.jkt not in (None, proof and proof.jkt):
        raise NotAcceptable(WRONG_ACTOR_TOKEN)
    return replace(subject, actor_jtis=(token.jti,))
