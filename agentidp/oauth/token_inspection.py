"""Inspect a token of the client's organization, before it is introspected (RFC 7662) or revoked (RFC 7009)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import marshmallow as ma
import psycopg

from agentidp.caller.token_verification import verify_token
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context, current_request
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import authorization_grant, client_assertion, client_authentication, grants, issuance
from agentidp.oauth.client_form import ClientFormSchema, read_form
from agentidp.services import services


class TokenFormSchema(ClientFormSchema):
    """The form of an introspection request (RFC 7662 section 2.1) or a revocation request (RFC 7009 section 2.1)."""

    token = ma.fields.String(required=True, validate=ma.validate.Length(1))
    token_type_hint = ma.fields.String(metadata={"description": "Ignored, because a token itself shows its type"})


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """The token that an authenticated client asks about.

    :param client_scopes: empty for a public client, because anybody can send its ``client_id``.
    :param token: ``None`` for a token that is not valid, or belongs to another organization.
    :param refresh_token: the token, if it has the form of a refresh token or a code.
    """

    client: issuance.Client
    client_scopes: frozenset[str]
    token: AccessToken | None
    is_active: bool
    refresh_token: grants.GrantToken | None


def inspect_token(at: datetime, *, accepts_public_clients: bool = False) -> TokenInspection:
    """Authenticate the request's client and inspect the token in its form, in one round trip.

    :param accepts_public_clients: whether a client with a public credential may send its ``client_id`` alone.
    :raises OAuthError: ``invalid_request`` without a token, and the errors of a token request if the client does not
        authenticate.
    """
    request, context = current_request(), current_context()
    form = read_form(request)
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing")
    refresh_token = grants.read_token(form["token"])
    if accepts_public_clients:
        client = authorization_grant.read_client(request, form, refresh_token, at)
    else:
        client = client_authentication.read_client(request, form, at)
    token = _verify_own_token(client.organization_id, form["token"])
    delegation = token and token.delegation
    app_services = services()
    client_rows: Rows = []
    while not client_rows:
        issuance_call = Call(
            "oauth/introspect_token",
            {
                "agent_id": client.agent_id,
                "secret_hash": client.secret_hash,
                "jwk": client.key_or_rule,
                "digest": client.digest,
                "expires_at": client.expires_at,
                "token_agent_id": token and token.agent_id,
                "jti": token and token.jti,
                "issued_at": token and token.issue_instant,
                "audience": token and token.audience,
                "own_resource": app_services.settings.resource,
                "delegation_agent_ids": delegation and delegation.agent_ids,
                "delegation_jtis": delegation and delegation.jtis,
                "delegation_audiences": delegation and delegation.audiences,
                "delegation_rule_id": delegation and delegation.rule_id,
            },
        )
        try:
            # With a digest, the statement records that an assertion was used. A crash must not lose this record.
            [client_rows] = app_services.database.of(client.organization_id, at).run(
                issuance_call, durable=client.digest is not None
            )
        except psycopg.errors.UniqueViolation:
            client = replace(client, refusal=client_assertion.USED_BEFORE)
        if not client_rows:
            client = client_authentication.verify_again_or_refuse(request, client, at)
    context.organization_id, context.agent_id = client.organization_id, client.agent_id
    [client_row] = client_rows
    scopes = frozenset(() if client.key_or_rule == client_authentication.PUBLIC else client_row.scopes)
    return TokenInspection(client, scopes, token, client_row.is_active, refresh_token if refresh_token.handle else None)


def _verify_own_token(organization_id: str, unverified_token: str) -> AccessToken | None:
    try:
        token = verify_token(unverified_token, audience=None)
    except TokenRefused:
        return None
    return token if token.organization_id == organization_id else None
