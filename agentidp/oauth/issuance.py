"""Issue a token: one statement authenticates the client, grants the scope and counts the token. Then it is signed."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import psycopg
from flask import Request, has_request_context

from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Call, Rows
from agentidp.federation.issuer_tokens import IssuerToken
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AGENT, Delegation, SigningKey, sign_access_token
from agentidp.jose.dpop import Proof
from agentidp.jose.jws import base64url
from agentidp.metrics import QUOTAS_EXHAUSTED
from agentidp.oauth import quota_windows
from agentidp.scopes import SCOPES
from agentidp.services import Services

CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""The grant type for a token of another issuer (RFC 7523 section 2.1): a workload's token, or an ID-JAG (identity
assertion JWT authorization grant, :mod:`agentidp.oauth.id_jag`)."""

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 section 2.1
"""The grant type by which a client exchanges a subject's token for a token with which it acts for the subject."""

ISSUED_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 section 3
"""The type of the token that an exchange issues."""

AUTHORIZATION_CODE, REFRESH_TOKEN = REDEEMING = ("authorization_code", "refresh_token")
"""The grant types for the access that a person has allowed (:mod:`agentidp.oauth.authorization_grant`)."""

GRANT_TYPES = (CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE, *REDEEMING)

_OWN_SCOPES = f"{{{','.join(SCOPES)}}}"
"""The scopes of our API as a PostgreSQL array in text form, because psycopg would take 15 µs to convert a list."""

_NO_TARGET = "the organization has no resource server for resource, or does not own its identifier"
_NO_TARGET_FOR_A_SUBJECT = f"{_NO_TARGET}, or the agent may not act for anybody there"
_MUST_BIND = "agent must bind its tokens to a key"

_OWN_API, _ID_JAG = "this API", "the ID-JAG"
_PARTIES = (_OWN_API, "the resource server", "the agent", "the subject", "the delegation rule", "the grant", _ID_JAG)
"""Parties that limit the scope of a token. An error's description names the first party that lacks a scope."""

_MAX_NAMED = 5
"""Maximum number of missing scopes that an error's description names for each party, such as the agent."""


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request and its credential.

    The statement that issues the token compares a secret's digest. It also checks that a valid credential still has the
    key or the rule of trust that verified the client's assertion. A client has one of these states:

    | state | members that are set |
    |---|---|
    | has a secret, not yet verified | ``secret_hash`` |
    | own key has verified the assertion | ``key_or_rule``, ``digest`` and ``expires_at`` |
    | rule has accepted another issuer's token | ``key_or_rule``; ``verify_again`` if the rule was in memory |
    | public client without a credential | ``key_or_rule``, which is ``PUBLIC`` |
    | refused | ``refusal`` |
    | accepted, but has no agent yet | ``new_subject`` |

    The statement also runs for a refused client, so that a failure always takes the same time. Such a client has
    neither ``secret_hash`` nor ``key_or_rule``, so none of the stored credentials matches, and the statement returns no
    row.

    :param organization_id: an ID that no organization has, if the client is unknown.
    :param agent_id: an ID that no agent has, if the client is unknown.
    :param secret_hash: the digest of the secret in the request.
    :param client_id: the ``client_id`` as it was sent, valid or not, by which failures are throttled.
    :param is_remembered: whether the client's organization was read from memory instead of the database.
    :param key_or_rule: the key (alone in a JSON array) or rule of trust (a JSON object) that verified the assertion.
    :param digest: the digest of the assertion's ``jti``, which the statement that issues the token consumes.
    :param expires_at: the time until which the digest is stored.
    :param is_federated: whether the assertion is a token of another issuer.
    :param refusal: the logged reason why the assertion is refused.
    :param new_subject: the row of the accepting provisioning rule, and the token of the subject that has no agent yet.
    :param verify_again: verifies the assertion by the stored rules, if a rule in memory has verified it.
    """

    organization_id: str
    agent_id: UUID
    secret_hash: bytes | None = None
    client_id: str = ""
    is_remembered: bool = False
    key_or_rule: str | None = None
    digest: bytes | None = None
    expires_at: datetime | None = None
    is_federated: bool = False
    refusal: str | None = None
    new_subject: tuple[Any, IssuerToken] | None = None
    verify_again: Callable[[], Client] | None = None

    @property
    def credential(self) -> tuple[UUID, bytes | str | None]:
        """The agent's ID, and the secret's digest, the key or the rule: a cache key for data about a credential."""
        return self.agent_id, self.secret_hash or self.key_or_rule


class TokenRequest(NamedTuple):
    """A request to the token endpoint.

    :param form: the parameters that have a value.
    :param scope: the requested scopes; ``None`` for all scopes of the agent.
    :param resource: the identifier of the requested resource server; ``None`` for our own API.
    :param proof: the DPoP proof of the key to bind the token to; ``None`` for a bearer token.
    """

    services: Services
    http_request: Request
    form: dict[str, str]
    at: datetime
    scope: list[str] | None
    resource: str | None
    proof: Proof | None


class SubjectRefused(Exception):
    """The client is authentic, but may not act for the subject of an exchange. The message is the logged reason."""


@dataclass(frozen=True, slots=True)
class CountedToken:
    """A token that was granted and counted, and can be signed. A token for a dashboard session is granted, not counted.

    :param scope: space-separated.
    :param resource: the identifier of the resource server; ``None`` for our own API.
    :param quotas: the quotas of the agent and of its organization, before this token.
    :param audience: the ``aud`` of the resource server; ``None`` if its identifier is the ``aud``.
    :param token_ttl: seconds until the token expires; ``None`` for the time in the settings.
    :param subject_form: the form of ``sub``, one of ``SUBJECTS``.
    :param row: the row that the statement has returned.
    :param delegation: the subject for whom the client acts; ``None`` if the client acts for itself.
    :param ends_at: latest expiry of the token, in seconds since the epoch; ``None`` for no limit.
    :param members: the members that only some grant types add to the token response.
    """

    scope: str
    resource: str | None = None
    quotas: list[quota_windows.Quota] = field(default_factory=list)
    audience: str | None = None
    token_ttl: int | None = None
    subject_form: str = AGENT
    row: Any = None
    delegation: Delegation | None = None
    ends_at: int | None = None
    members: dict[str, str] = field(default_factory=dict)


class IssuanceCall(Call):
    """A call of ``oauth/issue_access_token``, which issues a token to an agent that acts for itself.

    The subclasses call the statements for an agent that acts for a subject.
    """

    __slots__ = ()
    has_subject: ClassVar[bool] = False
    """Whether the agent acts for a subject. Only then does the statement's row have the column ``refusal``."""

    def find_scope_parameters(self, row: Any) -> dict[str, Any]:
        """Return the parameters for :func:`find_missing_scopes`. *row* is the statement's row."""
        return self.parameters


def build_call(
    client: Client,
    *,
    scope: list[str] | None,
    resource: str | None = None,
    has_proof: bool = False,
    is_counted: bool = True,
) -> IssuanceCall:
    """Return the call that authenticates *client*, grants *scope* for *resource* and counts the token.

    :param scope: ``None`` for all scopes of the agent.
    :param resource: the identifier of the resource server; ``None`` for our own API.
    :param is_counted: false for a sign-in to the dashboard, which issues no token.
    """
    return IssuanceCall(
        "oauth/issue_access_token",
        {
            "agent_id": client.agent_id,
            "secret_hash": client.secret_hash,
            "key_or_rule": client.key_or_rule,
            "digest": client.digest,
            "expires_at": client.expires_at,
            "scope": scope,
            "own_scopes": _OWN_SCOPES,
            "resource": resource,
            "has_proof": has_proof,
            "is_counted": is_counted,
        },
    )


def build_request_call(token_request: TokenRequest, client: Client) -> IssuanceCall:
    """Return the call that issues the requested token to a client (:func:`build_call`)."""
    has_proof = token_request.proof is not None
    return build_call(client, scope=token_request.scope, resource=token_request.resource, has_proof=has_proof)


def count_token_for_client(
    token_request: TokenRequest, database: OrganizationDatabase, client: Client
) -> CountedToken | None:
    """Authenticate a client and count a token by which it acts for itself; ``None`` if authentication failed."""
    return record_issuance(database, client, build_request_call(token_request, client), token_request.proof)


def record_issuance(
    database: OrganizationDatabase,
    client: Client,
    call: IssuanceCall,
    proof: Proof | None,
    subject_use: tuple[Call, Exception] | None = None,
) -> CountedToken | None:
    """Authenticate the client, grant the scope and count the token, in one durable transaction.

    :param subject_use: the call that consumes the subject's token, and the error if that token was used before.
    :returns: ``None`` if authentication failed.
    :raises psycopg.errors.UniqueViolation: authentication failed, because the assertion was used before.
    :raises OAuthError: an error of :func:`check_issuance`, or the proof was used before. The description of
        ``invalid_scope`` names the missing scopes.
    """
    if proof is None and subject_use is None:
        [rows] = database.run(call, durable=True)
    else:
        with database.transaction() as transaction:
            rows = transaction.run(call)
            # A client assertion is used up even if the request is refused, because it has authenticated the client. The
            # subject's token and the proof do not authenticate the client, so a refused request leaves them unused.
            if rows and rows[0].scope is not None:
                if subject_use is not None:
                    _consume(transaction, *subject_use)
                if proof is not None:
                    reuse_error = OAuthError("invalid_dpop_proof", "the DPoP proof was used before")
                    _consume(transaction, proof.build_consumption_call(), reuse_error)
    try:
        return check_issuance(client, call, rows, at=database.at)
    except OAuthError as error:
        if error.error == "invalid_scope":
            scope_parameters = call.find_scope_parameters(rows[0])
            error.description = _explain_missing_scopes(database, scope_parameters, has_subject=call.has_subject)
        raise


def _consume(transaction: Transaction, use: Call, error: Exception) -> None:
    try:
        transaction.run(use)
    except psycopg.errors.UniqueViolation:
        raise error from None


def _explain_missing_scopes(database: OrganizationDatabase, parameters: Mapping[str, Any], *, has_subject: bool) -> str:
    missing_scopes = find_missing_scopes(database, parameters)
    scopes = {*itertools.chain(*missing_scopes.values())}
    sentences = [describe_missing_scopes(missing_scopes)]
    if _OWN_API in missing_scopes:
        sentences.append("for a scope of a resource server, send the parameter resource as well")
    elif not has_subject and parameters["resource"] and not scopes.isdisjoint(SCOPES):
        sentences.append("for a scope of this API, leave out the parameter resource")
    if any("," in scope for scope in scopes):
        sentences.append("scopes are separated by blanks")
    return "; ".join(sentences)


def find_missing_scopes(database: OrganizationDatabase, parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the requested scopes that a token cannot have, by the party that lacks them.

    :param parameters: of the statement that issues the token. Only an exchange has ``ancestors`` and ``max_scopes``.
    """
    limit_names = ("agent_id", "resource", "subject_agent_id", "rule_id", "grant_id")
    limits = {limit_name: parameters.get(limit_name) for limit_name in limit_names}
    limit_rows = database.fetch("oauth/scope_limits", **limits)
    scopes_by_party: dict[str, Collection[str]] = {limit_row.holder: limit_row.scopes for limit_row in limit_rows}
    if parameters["resource"] is None:
        scopes_by_party[_OWN_API] = SCOPES
    if parameters.get("max_scopes") is not None:
        scopes_by_party[_ID_JAG] = parameters["max_scopes"]
    # A request without scopes asks for all scopes of its grant or, in an exchange, of the resource server.
    requested_scopes = (
        parameters["scope"] or scopes_by_party.get("the grant") or scopes_by_party.get("the resource server", ())
    )
    missing_scopes: dict[str, list[str]] = {}
    for scope in requested_scopes:
        party = next((party for party in _PARTIES if scope not in scopes_by_party.get(party, requested_scopes)), None)
        if party is not None:
            missing_scopes.setdefault(party, []).append(scope)
    return missing_scopes or _find_scopes_missing_in_ancestors(requested_scopes, parameters)


def _find_scopes_missing_in_ancestors(scopes: Collection[str], parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return those *scopes* that not all exchanged tokens have; an empty dictionary if no token was exchanged."""
    ancestors = json.loads(parameters.get("ancestors", "[]"))
    if not ancestors:
        return {}
    resource = parameters["resource"]
    resource_ancestors = [token for token in ancestors if resource in (token.get("aud"), token["resource"])]
    common_scopes = set.intersection(*(set(token["scope"].split()) for token in resource_ancestors or ancestors))
    return {"an exchanged token": [scope for scope in scopes if scope not in common_scopes]}


def describe_missing_scopes(missing_scopes: Mapping[str, list[str]]) -> str:
    """Describe the result of :func:`find_missing_scopes` in a sentence for an error."""
    sentences = [
        f"{party} does not have the scope {', '.join(scopes[:_MAX_NAMED])}"
        + (f" and {len(scopes) - _MAX_NAMED} more" if len(scopes) > _MAX_NAMED else "")
        for party, scopes in missing_scopes.items()
    ]
    return "; ".join(sentences) or "the resource server has no scope"


def check_issuance(client: Client, call: IssuanceCall, rows: Rows, *, at: datetime) -> CountedToken | None:
    """Return the token that a call has counted, or ``None`` if authentication failed. Count and log an exhausted quota.

    :param rows: the result of the call.
    :raises SubjectRefused: the client is authentic, but may not act for the subject of an exchange.
    :raises OAuthError: the client is authentic, but may not have the token, or a quota refuses it.
    """
    if not rows:
        return None
    [token_row] = rows
    if call.has_subject and token_row.refusal is not None:
        raise SubjectRefused(token_row.refusal)
    if not token_row.is_target_known:
        raise OAuthError("invalid_target", _NO_TARGET_FOR_A_SUBJECT if call.has_subject else _NO_TARGET)
    if token_row.is_proof_missing:
        bound_party = "subject token is bound to a key" if call.parameters.get("is_bound") else _MUST_BIND
        raise OAuthError("invalid_dpop_proof", f"the {bound_party}: send a proof in the header DPoP")
    if token_row.exhausted is not None:
        _report_exhausted_quota(client, token_row, at)
    if token_row.scope is None:
        # record_issuance() replaces this description by one that names the scopes.
        raise OAuthError("invalid_scope", "the agent does not have every scope that was asked for")
    return CountedToken(
        token_row.scope,
        call.parameters["resource"],
        quota_windows.read_quotas(token_row.quotas),
        token_row.audience,
        token_row.token_ttl,
        token_row.subject or AGENT,
        token_row,
    )


def _report_exhausted_quota(client: Client, token_row: Any, at: datetime) -> None:
    """Count and log a quota that has no token left. Raise ``QuotaExhausted`` if the quota is enforced."""
    holder, window = token_row.exhausted.split(" ")
    quota_result = "observed" if token_row.scope is not None else "refused"
    QUOTAS_EXHAUSTED.labels(holder, window, quota_result).inc()
    if has_request_context():
        # The log line of the whole request shows these ids and the quota. A command has no request.
        context = current_context()
        context.organization_id, context.agent_id = client.organization_id, client.agent_id
        context.quota = f"{token_row.exhausted} {quota_result}"
    if token_row.scope is None:
        raise quota_windows.build_quota_error(quota_windows.read_quotas(token_row.quotas), holder, window, at)


def build_token_response(
    services: Services,
    signing_key: SigningKey,
    client: Client,
    counted_token: CountedToken,
    *,
    at: datetime,
    jkt: str | None = None,
) -> dict[str, Any]:
    """Sign the access token, and return the response of RFC 6749 section 5.1.

    :param jkt: the thumbprint of the key that the token is bound to (RFC 9449 section 6.1).
    """
    lifetime_seconds = counted_token.token_ttl or services.settings.token_ttl
    if counted_token.ends_at is not None:
        lifetime_seconds = min(lifetime_seconds, counted_token.ends_at - int(at.timestamp()))
    access_token = sign_access_token(
        signing_key,
        issuer=services.settings.issuer,
        audience=counted_token.audience or counted_token.resource or services.settings.resource,
        resource=counted_token.resource if counted_token.audience is not None else None,
        organization_id=client.organization_id,
        agent_id=client.agent_id,
        scope=counted_token.scope,
        jti=base64url(os.urandom(16)).decode(),
        at=at,
        ttl=lifetime_seconds,
        jkt=jkt,
        subject=counted_token.subject_form,
        delegation=counted_token.delegation,
    )
    response_body: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "DPoP" if jkt else "Bearer",
        "expires_in": lifetime_seconds,
    }
    if counted_token.scope:
        response_body["scope"] = counted_token.scope
    response_body |= counted_token.members
    return response_body
