"""Inspect a token of the client's organization, before it is introspected (RFC 7662) or revoked (RFC 7009)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import marshmallow as ma
from flask import Request

from agentidp.caller.token_verification import verify_token
from agentidp.db.sql import Call
from agentidp.http.errors import OAuthError
from agentidp.http.request_context import current_context
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import client_authentication, issuance
from agentidp.oauth.client_form import ClientFormSchema, describe_parameter, read_form
from agentidp.services import services


class TokenFormSchema(ClientFormSchema):
    """The form of an introspection request (RFC 7662 section 2.1) or a revocation request (RFC 7009 section 2.1)."""

    token = ma.fields.String(required=True, validate=ma.validate.Length(1))
    token_type_hint = describe_parameter("Ignored, because a token itself shows its type")


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """The token that a client asks about. ``None`` is a token that is not valid, or belongs to another organization."""

    client: issuance.Client
    client_scopes: frozenset[str]
    token: AccessToken | None
    is_active: bool


def read_token_form(request: Request) -> dict[str, str]:
    """Return the form of a request, or raise ``invalid_request`` without a token."""
    form = read_form(request)
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing")
    return form


def inspect_token(request: Request, unverified_token: str, client: issuance.Client, at: datetime) -> TokenInspection:
    """Authenticate the request's client and inspect a token, in one round trip."""
    token = _verify_own_token(client.organization_id, unverified_token)
    delegation = token and token.delegation
    app_services = services()
    database = app_services.database.of(client.organization_id, at)
    token_parameters = {
        "token_agent_id": token and token.agent_id,
        "jti": token and token.jti,
        "issued_at": token and token.issue_instant,
        "audience": token and token.audience,
        "own_resource": app_services.settings.resource,
        "delegation_agent_ids": delegation and delegation.agent_ids,
        "delegation_jtis": delegation and delegation.jtis,
        "delegation_audiences": delegation and delegation.audiences,
        "delegation_rule_id": delegation and delegation.rule_id,
    }

    def run_statement(client: issuance.Client) -> Any:
        credential_parameters = {
            "agent_id": client.agent_id,
            "secret_hash": client.secret_hash,
            "key_or_rule": client.key_or_rule,
            "digest": client.digest,
            "expires_at": client.expires_at,
        }
        call = Call("oauth/introspect_token", credential_parameters | token_parameters)
        # With a digest, the statement records that an assertion was used. A crash must not lose this record.
        [client_rows] = database.run(call, durable=client.digest is not None)
        return client_rows[0] if client_rows else None

    client, client_row = client_authentication.authenticate(request, client, at, run_statement)
    context = current_context()
    context.organization_id, context.agent_id = client.organization_id, client.agent_id
    return TokenInspection(client, frozenset(client_row.scopes), token, client_row.is_active)


def _verify_own_token(organization_id: str, unverified_token: str) -> AccessToken | None:
    try:
        token = verify_token(unverified_token, audience=None)
    except TokenRefused:
        return None
    return token if token.organization_id == organization_id else None
