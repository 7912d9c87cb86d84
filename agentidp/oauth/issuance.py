"""Issue a token: one statement authenticates the client, grants the scope and counts the token. Then it is signed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import psycopg
from flask import Request, has_request_context

from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AGENT, Delegation, SigningKey, sign_access_token
from agentidp.jose.dpop import Proof
from agentidp.jose.jws import base64url
from agentidp.metrics import QUOTAS_EXHAUSTED
from agentidp.oauth import quota_windows
from agentidp.oauth.client import Client
from agentidp.oauth.missing_scopes import explain_missing_scopes
from agentidp.scopes import SCOPES
from agentidp.services import Services

CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""The grant type for a token of another issuer (RFC 7523 section 2.1): a workload's token, or an ID-JAG (identity
assertion JWT authorization grant, :mod:`agentidp.oauth.id_jag`)."""

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693 section 2.1
"""The grant type by which a client exchanges a subject's token for a token to act for the subject."""

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
    """The client may not act for the subject of an exchange. The message is the logged reason."""


@dataclass(frozen=True, slots=True)
class CountedToken:
    """A token that was granted and counted, and can be signed. A token for a dashboard session is granted, not counted.

    :param scope: space-separated.
    :param resource: the identifier of the resource server; ``None`` for our own API.
    :param quotas: the quotas of the agent and of its organization, before this token.
    :param audience: the ``aud`` of the resource server; ``None`` if its identifier is the ``aud``.
    :param token_ttl: seconds until the token expires; ``None`` for the time in the settings.
    :param subject_form: the form of ``sub``, one of ``SUBJECT_FORMS``.
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
        """Return the parameters for :func:`explain_missing_scopes`. *row* is the statement's row."""
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
            "digest": client.assertion_digest,
            "expires_at": client.digest_expires_at,
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
        :func:`agentidp.oauth.client_authentication.authenticate` counts the failure and refuses the client.
    :raises OAuthError: an error of :func:`check_issuance`, or the proof was used before. The description of
        ``invalid_scope`` names the missing scopes.
    """
    if proof is None and subject_use is None:
        [token_rows] = database.run(call, durable=True)
    else:
        with database.transaction() as transaction:
            token_rows = transaction.run(call)
            # A client assertion is used up even if the request is refused, because it has authenticated the client. The
            # subject's token and the proof do not authenticate the client, so a refused request leaves them unused.
            if token_rows and token_rows[0].scope is not None:
                if subject_use is not None:
                    _consume(transaction, *subject_use)
                if proof is not None:
                    reuse_error = OAuthError("invalid_dpop_proof", "the DPoP proof was used before")
                    _consume(transaction, proof.build_consumption_call(), reuse_error)
    try:
        return check_issuance(client, call, token_rows, at=database.at)
    except OAuthError as error:
        if error.error == "invalid_scope":
            scope_parameters = call.find_scope_parameters(token_rows[0])
            error.description = explain_missing_scopes(database, scope_parameters, has_subject=call.has_subject)
        raise


def _consume(transaction: Transaction, use: Call, error: Exception) -> None:
    try:
        transaction.run(use)
    except psycopg.errors.UniqueViolation:
        raise error from None


def check_issuance(client: Client, call: IssuanceCall, token_rows: Rows, *, at: datetime) -> CountedToken | None:
    """Return the token that a call has counted, or ``None`` if authentication failed. Count and log an exhausted quota.

    :param token_rows: the result of the call.
    :raises SubjectRefused: the client is authentic, but may not act for the subject of an exchange.
    :raises OAuthError: the client is authentic, but may not have the token, or a quota refuses it.
    """
    if not token_rows:
        return None
    [token_row] = token_rows
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
        scope=token_row.scope,
        resource=call.parameters["resource"],
        quotas=quota_windows.read_quotas(token_row.quotas),
        audience=token_row.audience,
        token_ttl=token_row.token_ttl,
        subject_form=token_row.subject_form or AGENT,
        row=token_row,
    )


def _report_exhausted_quota(client: Client, token_row: Any, at: datetime) -> None:
    """Count and log a quota that has no token left. Raise ``QuotaExhausted`` if the quota is enforced."""
    holder, window = token_row.exhausted.split(" ")
    quota_result = "observed" if token_row.scope is not None else "refused"
    QUOTAS_EXHAUSTED.labels(holder, window, quota_result).inc()
    if has_request_context():
        # The log line of the request shows these values.
        request_context = current_context()
        request_context.organization_id, request_context.agent_id = client.organization_id, client.agent_id
        request_context.quota = f"{token_row.exhausted} {quota_result}"
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
        subject_form=counted_token.subject_form,
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
