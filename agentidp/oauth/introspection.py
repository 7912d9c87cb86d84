"""``POST /api/v1/token/introspect``: whether a token is good at this moment, and what it says (RFC 7662)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import marshmallow as ma
import psycopg
from flask import Response, g, request

from agentidp.caller import public, verified_token
from agentidp.db.database import Call
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import client_authentication, issuance
from agentidp.oauth.token import NO_STORE, ClientFormSchema, described, read_form
from agentidp.services import services

INACTIVE = {"active": False}
"""All that is said of a token that is not good, whatever the reason (section 2.2)."""

blueprint = Blueprint("oauth-introspection", __name__, description="OAuth 2.0 token introspection")


class TokenFormSchema(ClientFormSchema):
    """Section 2.1."""

    token = ma.fields.String(required=True, validate=ma.validate.Length(1))
    token_type_hint = ma.fields.String(metadata={"description": "Not needed: there are access tokens only"})


class ConfirmationSchema(ma.Schema):
    """RFC 9449 section 6.2."""

    jkt = ma.fields.String(required=True)


class IntrospectionSchema(ma.Schema):
    """Section 2.2. Where ``active`` is false there is nothing else."""

    class Meta:
        json_schema = {
            "if": {"properties": {"active": {"const": False}}},
            "then": {"maxProperties": 1},
            "else": {
                "required": ["client_id", "token_type", "exp", "iat", "sub", "aud", "iss", "jti", "organization_id"]
            },
        }

    active = ma.fields.Boolean(required=True)
    scope = ma.fields.String()
    client_id = ma.fields.UUID()
    token_type = ma.fields.String(validate=ma.validate.OneOf(["Bearer", "DPoP"]))
    exp = ma.fields.Integer()
    iat = ma.fields.Integer()
    sub = ma.fields.UUID()
    aud = ma.fields.String()
    iss = ma.fields.String()
    jti = ma.fields.String()
    organization_id = ma.fields.String()
    cnf = ma.fields.Nested(ConfirmationSchema)


@dataclass(frozen=True, slots=True)
class Examination:
    """What an authenticated client gets to know of a token.

    ``token`` is ``None`` where it is not one of the client's organization that has been verified.
    """

    client: issuance.Client
    client_scopes: frozenset[str]
    token: AccessToken | None
    is_active: bool


@blueprint.route("/api/v1/token/introspect", methods=["POST"])
@public
@blueprint.response(200, IntrospectionSchema)
@described(TokenFormSchema)
def introspect() -> Response:
    """Say whether a token of the client's organization is good, and what it says."""
    examined = examine(g.at)
    if examined.token is None or not examined.is_active:
        return json_response(INACTIVE, headers=NO_STORE)
    return json_response(describe(examined.token), headers=NO_STORE)


def examine(at: datetime) -> Examination:
    """Authenticate the request's client and look at the token in its form, in one round trip.

    :raises OAuthError: ``invalid_request`` without a token, and as for a token request where the client does not
        authenticate.
    """
    form = read_form(request)
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing")
    client = client_authentication.presented_client(request, form, at)
    token = _token_of(client.organization_id, form["token"])
    s = services()
    call = Call(
        "oauth/introspect_token",
        {
            "organization_id": client.organization_id,
            "agent_id": client.agent_id,
            "secret_hash": client.secret_hash,
            "credential_id": client.credential_id,
            "token_agent_id": token and token.agent_id,
            "jti": token and token.jti,
            "audience": token and token.audience,
            "own_resource": s.settings.resource,
            "at": at,
        },
    )
    try:
        # What may be used once must stay used; the rest is no loss.
        *_, rows = s.database.run(client.organization_id, *client.spends, call, durable=bool(client.spends))
    except psycopg.errors.UniqueViolation:
        rows = []
    if not rows:
        client_authentication.refuse(request, client, at)
    g.organization_id, g.agent_id = client.organization_id, client.agent_id
    [row] = rows
    return Examination(client, frozenset(row.scopes), token, row.is_active)


def describe(token: AccessToken) -> dict[str, Any]:
    """The answer for an active token (section 2.2, RFC 9449 section 6.2)."""
    body: dict[str, Any] = {
        "active": True,
        "scope": " ".join(sorted(token.scope)),
        "client_id": str(token.agent_id),
        "token_type": "DPoP" if token.jkt else "Bearer",
        "exp": token.expires_at,
        "iat": token.issued_at,
        "sub": str(token.agent_id),
        "aud": token.audience,
        "iss": services().settings.issuer,
        "jti": token.jti,
        "organization_id": token.organization_id,
    }
    if not token.scope:
        del body["scope"]
    if token.jkt:
        body["cnf"] = {"jkt": token.jkt}
    return body


def _token_of(organization_id: str, unverified_token: str) -> AccessToken | None:
    try:
        token = verified_token(unverified_token, audience=None)
    except TokenRefused:
        return None
    return token if token.organization_id == organization_id else None
