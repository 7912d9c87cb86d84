"""Token exchange (RFC 8693): a client gets a token by which it acts for the subject of another token.

The client is the actor. The subject's token is our token for the client, whose subject is an agent, or another issuer's
token that a delegation rule of the organization accepts. ``sql/functions/exchange_token.sql`` decides what depends on
the database, in the transaction that counts the token.

:class:`SubjectRefused` has the reason why a token is refused. If Python finds the reason, the statement gets it,
authenticates the client, and returns the reason. If authentication fails, ``count_token_…`` returns ``None``, and the
reason is neither logged nor counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from agentidp.caller.token_verification import verify_token
from agentidp.counting import Rejection
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.federation.issuer_tokens import Candidate, DelegationRulesKey, IssuerToken
from agentidp.http.errors import OAuthError
from agentidp.jose.access_token import AccessToken, Ancestor, Delegation, TokenRefused
from agentidp.jose.dpop import Proof
from agentidp.oauth import client_authentication, issuance
from agentidp.oauth.client import Client
from agentidp.oauth.issuance import ISSUED_TOKEN_TYPE, CountedToken, IssuanceCall, SubjectRefused, TokenRequest
from agentidp.services import Services

TYPES = (ISSUED_TOKEN_TYPE, "urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt")
"""Values of ``subject_token_type`` (RFC 8693 section 3). Only the first is for our tokens."""

MAX_SUBJECT = 255
"""Maximum number of characters of another issuer's ``sub`` (OpenID Connect Core section 2)."""


class Reason(StrEnum):
    """A logged reason why a subject's or actor's token is not acceptable.

    The database returns further reasons (``sql/functions/chain_refusal.sql``, ``sql/functions/exchange_token.sql``).
    """

    UNREADABLE = "unreadable subject token"
    INVALID = "invalid subject token"
    OTHER_ORGANIZATION = "subject token of another organization"
    ENDED = "subject token expired"
    TOO_LONG = "too many actors"
    HAS_ACT = "subject token has actors"
    OTHER_ACTOR = "subject names another actor"
    NO_SUBJECT = "subject token without subject"
    WRONG_ACTOR_TOKEN = "wrong actor token"  # noqa: S105 - a reason, and no password
    DELETED_RULE = "delegation rule deleted"  # equals the text that chain_refusal.sql returns


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject for whom a client may act by the tokens in the client's request.

    :param ends_at: the expiry of the subject's token, in seconds since the epoch.
    :param is_bound: whether the subject's token is bound to a key, so that the new token must be bound too.
    :param max_scopes: the scopes to which an ID-JAG limits the new token; ``None`` for no limit.
    :param use: the call that consumes an ID-JAG, and the error if the ID-JAG was used before.
    :param token: the subject's token, if this server has issued it.
    :param actor_token: the actor's token, if the request has one.
    """

    delegation: Delegation
    ends_at: int
    is_bound: bool
    max_scopes: list[str] | None = None
    use: tuple[Call, Exception] | None = None
    token: AccessToken | None = None
    actor_token: AccessToken | None = None

    def list_issue_instants(self) -> list[datetime | None]:
        """Return, per agent of the delegation, the earliest ``iat`` of the tokens that name the agent, or ``None``."""
        instants_by_agent: dict[UUID, datetime] = {}
        if self.token is not None:
            earlier_delegation = self.token.delegation
            agent_ids = [self.token.agent_id] if earlier_delegation is None else earlier_delegation.agent_ids
            instants_by_agent = dict.fromkeys(agent_ids, self.token.issue_instant)
        if self.actor_token is not None:
            actor_id, actor_instant = self.actor_token.agent_id, self.actor_token.issue_instant
            instants_by_agent[actor_id] = min(actor_instant, instants_by_agent.get(actor_id, actor_instant))
        return [instants_by_agent.get(agent_id) for agent_id in self.delegation.agent_ids]


class ExchangeCall(IssuanceCall):
    """A call of ``oauth/exchange_token``, by which a client acts for the subject of a token."""

    __slots__ = ()
    has_subject = True


def check_form(form: dict[str, str], resource: str | None) -> None:
    """Check the form of a token exchange except its tokens (RFC 8693 section 2.1).

    :param resource: the form's resource; ``None`` for our own API.
    """
    if resource is None:
        raise OAuthError(
            "invalid_target", "a token from an exchange is for a resource server: name the resource server by resource"
        )
    for name in ("subject_token", "subject_token_type"):
        if name not in form:
            raise OAuthError("invalid_request", f"{name} is missing")
    if form["subject_token_type"] not in TYPES:
        raise OAuthError("invalid_request", f"subject_token_type must be one of {', '.join(TYPES)}")
    if ("actor_token" in form) != ("actor_token_type" in form):
        raise OAuthError("invalid_request", "actor_token and actor_token_type must be sent together")
    for name in ("actor_token_type", "requested_token_type"):
        if form.get(name, ISSUED_TOKEN_TYPE) != ISSUED_TOKEN_TYPE:
            raise OAuthError("invalid_request", f"{name} must be {ISSUED_TOKEN_TYPE}")


def count_token_by_exchange(
    token_request: TokenRequest, database: OrganizationDatabase, client: Client
) -> CountedToken | None:
    """Authenticate a client and count a token for a subject token's subject; ``None`` if authentication failed."""
    form = token_request.form

    def read_subject() -> Subject:
        if form["subject_token_type"] == ISSUED_TOKEN_TYPE:
            return _read_our_subject(form["subject_token"], client)
        issuer_token = token_request.services.issuer_tokens.read_token(form["subject_token"])
        if issuer_token is None:
            raise SubjectRefused(Reason.UNREADABLE)
        return read_issuer_subject(token_request, issuer_token, client)

    refusal_error = OAuthError(
        "invalid_request",
        f"the subject token or the actor token is not acceptable; {client_authentication.OWNER_SEES}",
    )
    counted_token = count_token_for_subject(token_request, database, client, read_subject, refusal_error)
    return counted_token and replace(counted_token, members={"issued_token_type": ISSUED_TOKEN_TYPE})


def count_token_for_subject(
    token_request: TokenRequest,
    database: OrganizationDatabase,
    client: Client,
    read_subject: Callable[[], Subject],
    refusal_error: OAuthError,
) -> CountedToken | None:
    """Verify the subject's token, authenticate the client, and count the new token for the subject.

    If the delegation rule that accepts the subject's token was in memory and has been deleted, the stored rules are
    tried once. :func:`client_authentication.authenticate` does the same for the rule of trust that authenticates the
    client.

    :param read_subject: verifies the subject's token, or raises :class:`SubjectRefused`.
    :param refusal_error: the error for a token that is not acceptable. It hides the reason (RFC 8693 section 2.2.2).
    :raises OAuthError: also ``temporarily_unavailable`` with 503 if another issuer's keys cannot be read now.
    """
    try:
        try:
            return _try_to_count_token(token_request, database, client, read_subject)
        except SubjectRefused as refused:
            if str(refused) != Reason.DELETED_RULE or not _forget_delegation_rules(token_request.services, client):
                raise
        # The deleted rule was still in memory, so a stored rule may accept the token. The refused statement has
        # consumed the client's assertion, so the second statement must not consume it again.
        client = replace(client, assertion_digest=None, digest_expires_at=None)
        return _try_to_count_token(token_request, database, client, read_subject)
    except SubjectRefused as refused:
        # The failure is counted but not throttled, so that the senders of tokens cannot lock the agent out.
        Rejection(client.organization_id, client.agent_id, "subject token", str(refused)).record(database)
        raise refusal_error from None


def _try_to_count_token(
    token_request: TokenRequest, database: OrganizationDatabase, client: Client, read_subject: Callable[[], Subject]
) -> CountedToken | None:
    subject, refusal = None, None
    try:
        subject = _check_subject(token_request, read_subject(), client)
    except SubjectRefused as error:
        # The statement returns this reason for an authentic client, and record_issuance() raises the exception again.
        refusal = str(error)
    exchange_call = build_exchange_call(issuance.build_request_call(token_request, client), subject, refusal)
    subject_use = subject.use if subject else None
    counted_token = issuance.record_issuance(database, client, exchange_call, token_request.proof, subject_use)
    if counted_token is None or subject is None:
        return None
    return replace(counted_token, delegation=subject.delegation, ends_at=subject.ends_at)


def _forget_delegation_rules(services: Services, client: Client) -> bool:
    """Remove the delegation rules for a client from memory, and return whether memory had rules."""
    # A key of the cache contains an audience: None for rules for subject tokens, our issuer for rules for ID-JAGs.
    rule_cache, own_issuer = services.issuer_tokens.rule_cache, services.settings.issuer
    memory_keys = [DelegationRulesKey(*client.credential, audience) for audience in (None, own_issuer)]
    return True in [rule_cache.forget(client.organization_id, memory_key) for memory_key in memory_keys]


def _check_subject(token_request: TokenRequest, subject: Subject, client: Client) -> Subject:
    """Return the subject of a verified token, with the actor's token if the form has one.

    :raises SubjectRefused: the actor's token is wrong, the subject's token has expired, or the actors are too many.
    """
    form = token_request.form
    if "actor_token" in form:
        subject = replace(subject, actor_token=_verify_actor_token(form["actor_token"], client, token_request.proof))
    # No leeway for clocks is allowed, because a new token ends with the subject token, and would already have expired.
    if subject.ends_at <= int(token_request.at.timestamp()):
        raise SubjectRefused(Reason.ENDED)
    if subject.delegation.is_too_long:
        raise SubjectRefused(Reason.TOO_LONG)
    return subject


def _read_our_subject(subject_token: str, client: Client) -> Subject:
    # Any audience is accepted here, because the database decides whether the token was issued for the client.
    try:
        token = verify_token(subject_token, audience=None)
    except TokenRefused:
        raise SubjectRefused(Reason.INVALID) from None
    if token.organization_id != client.organization_id:
        raise SubjectRefused(Reason.OTHER_ORGANIZATION)
    return build_subject(token, client.agent_id)


def build_subject(token: AccessToken, actor_id: UUID) -> Subject:
    """Return the subject for whom an agent acts if it exchanges one of our tokens."""
    delegation = token.delegation or Delegation((), (), token.agent_id)
    exchanged_token = Ancestor(token.jti, token.audience, " ".join(sorted(token.scope)), token.resource)
    actor_ids, ancestors = (actor_id, *delegation.actors), (exchanged_token, *delegation.ancestors)
    delegation = replace(delegation, actors=actor_ids, ancestors=ancestors)
    return Subject(delegation, token.expires_at, token.jkt is not None, token=token)


def read_issuer_subject(
    token_request: TokenRequest, token: IssuerToken, client: Client, *, audience: str | None = None
) -> Subject:
    """Return the subject of another issuer's token that a delegation rule accepts.

    :param audience: the ``aud`` that the token must have; ``None`` for the audience of the rule.
    :raises SubjectRefused: no rule accepts the token, or the client may not act for its subject.
    """
    rule_row = _find_accepting_rule(token_request, token, client, audience)
    claims = token.claims
    if refusal := find_subject_refusal(claims, client.agent_id, token_request.services.settings.issuer):
        raise SubjectRefused(refusal)
    subject_id = (rule_row.issuer, claims["sub"])
    delegation = Delegation((client.agent_id,), (), None, subject_id, rule_row.delegation_rule_id)
    return Subject(delegation, int(claims["exp"]), "cnf" in claims)


def _find_accepting_rule(token_request: TokenRequest, token: IssuerToken, client: Client, audience: str | None) -> Any:
    """Return the row of the first delegation rule that accepts a token: rules for the resource first, then by age.

    The statement that issues the token checks that the rule still exists.
    """
    verdict, _ = token_request.services.issuer_tokens.verify_by_remembered_rules(
        token,
        token_request.at,
        organization_id=client.organization_id,
        key=DelegationRulesKey(*client.credential, audience),
        read_rules=lambda: _read_delegation_rules(token_request, client, audience),
        is_preferred=lambda candidate: token_request.resource in candidate.resources,
    )
    if not verdict.accepting:
        raise SubjectRefused(verdict.find_most_specific_refusal())
    return verdict.accepting[0].row


def _read_delegation_rules(token_request: TokenRequest, client: Client, audience: str | None) -> list[Candidate]:
    # The statement returns rules only for an authentic client, because effects such as requests for keys would reveal
    # the rules.
    rule_rows = token_request.services.database.of(client.organization_id, token_request.at).fetch(
        "oauth/delegation_rules",
        agent_id=client.agent_id,
        audience=audience,
        secret_hash=client.secret_hash,
        key_or_rule=client.key_or_rule,
    )
    parse_rule = token_request.services.issuer_tokens.parse_rule
    return [
        Candidate(parse_rule(client.organization_id, row.trust), client.agent_id, row, resources=row.resources)
        for row in rule_rows
    ]


def find_subject_refusal(claims: dict[str, Any], agent_id: UUID, own_issuer: str) -> str | None:
    """Return why an agent may not act for the subject of a token that a rule accepts, or ``None`` if it may."""
    subject = claims.get("sub")
    if "act" in claims:
        # The actors in another issuer's token cannot be verified.
        return Reason.HAS_ACT
    if "may_act" in claims and not _names_agent(claims["may_act"], agent_id, own_issuer):
        return Reason.OTHER_ACTOR
    if not isinstance(subject, str) or not (
        1 <= len(subject) <= MAX_SUBJECT and subject.isascii() and subject.isprintable()
    ):
        return Reason.NO_SUBJECT
    return None


def _names_agent(may_act: object, agent_id: UUID, own_issuer: str) -> bool:
    """Return whether the claim ``may_act`` names an agent (RFC 8693 section 4.4). Other members are ignored."""
    if not isinstance(may_act, dict) or may_act.get("iss", own_issuer) != own_issuer:
        return False
    actor_ids = [may_act[member_name] for member_name in ("sub", "client_id") if member_name in may_act]
    return bool(actor_ids) and all(actor_id == str(agent_id) for actor_id in actor_ids)


def _verify_actor_token(actor_token: str, client: Client, proof: Proof | None) -> AccessToken:
    try:
        token = verify_token(actor_token, audience=None)
    except TokenRefused:
        raise SubjectRefused(Reason.WRONG_ACTOR_TOKEN) from None
    # Only the client's own token is accepted, because other tokens do not prove who the client is.
    is_own_token = (token.organization_id, token.agent_id) == (client.organization_id, client.agent_id)
    if not is_own_token or token.delegation is not None or token.jkt not in (None, proof and proof.jkt):
        raise SubjectRefused(Reason.WRONG_ACTOR_TOKEN)
    return token


def build_exchange_call(call: Call, subject: Subject | None, refusal: str | None = None) -> ExchangeCall:
    """Return the call that authenticates a client, decides whether it may act for a subject, and counts the token.

    :param call: the call that issues a token without a subject.
    :param subject: ``None`` if the subject's or actor's token is not acceptable.
    :param refusal: the reason why a token is not acceptable. The call then only authenticates the client.
    """
    delegation = Delegation((), (), None) if subject is None else subject.delegation
    subject_issuer, _ = delegation.subject_id or (None, None)
    ancestors = [
        {"aud": ancestor.audience, "scope": ancestor.scope, "resource": ancestor.resource}
        for ancestor in delegation.ancestors
    ]
    exchange_parameters = {
        "subject_agent_id": delegation.subject_agent_id,
        "issuer": subject_issuer,
        "rule_id": delegation.rule_id,
        "agent_ids": delegation.agent_ids,
        "issued_at": None if subject is None else subject.list_issue_instants(),
        "jtis": delegation.jtis + ([subject.actor_token.jti] if subject and subject.actor_token else []),
        "ancestors": json.dumps(ancestors),
        "max_scopes": None if subject is None else subject.max_scopes,
        "is_bound": subject is not None and subject.is_bound,
        "refusal": refusal,
    }
    return ExchangeCall("oauth/exchange_token", call.parameters | exchange_parameters)
