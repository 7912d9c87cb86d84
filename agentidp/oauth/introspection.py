"""``POST /api/v1/token/introspect``: return whether a token is active now, and its claims (RFC 7662)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import marshmallow as ma
from flask import Request, Response, g

from agentidp.caller.token_verification import verify_token
from agentidp.db.sql import Call
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import Blueprint
from agentidp.http.request_context import current_context, current_request
from agentidp.http.responses import json_response
from agentidp.jose.access_token import AccessToken, TokenRefused
from agentidp.oauth import client_authentication
from agentidp.oauth.client import Client
from agentidp.oauth.client_authentication import authenticates_client
from agentidp.oauth.client_form import (
    NO_STORE,
    ClientFormSchema,
    describe_client_endpoint,
    describe_parameter,
    read_form,
)
from agentidp.services import services

INACTIVE = {"active": False}
"""The response for every token that is not active (RFC 7662 section 2.2)."""

blueprint = Blueprint("oauth-introspection", __name__, description="OAuth 2.0 token introspection")


class TokenFormSchema(ClientFormSchema):
    """The form of an introspection request (RFC 7662 section 2.1) or a revocation request (RFC 7009 section 2.1)."""

    token = ma.fields.String(required=True, validate=ma.validate.Length(1))
    token_type_hint = describe_parameter("Ignored, because a token itself shows its type")


class ConfirmationSchema(ma.Schema):
    """The thumbprint of the key that a token is bound to (RFC 9449 section 6.2)."""

    jkt = ma.fields.String(required=True)


class SubjectIdSchema(ma.Schema):
    """The person for whom an agent acts: the issuer and ``sub`` of the person's token (RFC 9493 section 3.2.3)."""

    format = ma.fields.String(required=True, validate=ma.validate.Equal("iss_sub"))
    iss = ma.fields.String(required=True)
    sub = ma.fields.String(required=True)


class ActSchema(ma.Schema):
    """The agent that acts for the subject of a token (RFC 8693 section 4.1)."""

    sub = ma.fields.UUID(required=True)
    act = ma.fields.Nested(lambda: ActSchema, metadata={"description": "The agent that acted before"})


class AncestorSchema(ma.Schema):
    jti = ma.fields.String(required=True)
    aud = ma.fields.String(required=True)
    scope = ma.fields.String(required=True)


class IntrospectionSchema(ma.Schema):
    """The response of RFC 7662 section 2.2. If ``active`` is false, there are no other members."""

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
    sub = ma.fields.String()
    aud = ma.fields.String()
    iss = ma.fields.String()
    jti = ma.fields.String()
    organization_id = ma.fields.String()
    resource = ma.fields.String(metadata={"description": "The resource server's identifier, if it is not the `aud`"})
    cnf = ma.fields.Nested(ConfirmationSchema)
    act = ma.fields.Nested(ActSchema, metadata={"description": "The agent, if the token is from an exchange"})
    sub_id = ma.fields.Nested(SubjectIdSchema, metadata={"description": "The subject, if it comes from another issuer"})
    delegation_rule_id = ma.fields.UUID(metadata={"description": "The rule that accepted the other issuer's token"})
    grant_id = ma.fields.UUID(metadata={"description": "The grant by which a person has let the agent act"})
    exchanged_from = ma.fields.List(
        ma.fields.Nested(AncestorSchema),
        metadata={"description": "The tokens of this server that were exchanged for the token, newest first"},
    )
    exchanged_resources = ma.fields.List(
        ma.fields.String(allow_none=True), metadata={"description": "The claim `resource` of each exchanged token"}
    )


@blueprint.route("/api/v1/token/introspect", methods=["POST"])
@authenticates_client
@blueprint.response(200, IntrospectionSchema)
@describe_client_endpoint(TokenFormSchema)
def introspect() -> Response:
    """Return whether a token of the client's organization is active, and its claims."""
    request = current_request()
    form = read_token_form(request)
    client = client_authentication.identify_client(request, form, g.at)
    inspection = inspect_token(request, form["token"], client, g.at)
    # No leeway for clocks is allowed, so that no response calls a token active whose exp has passed.
    if inspection.token is None or not inspection.is_active or inspection.token.expires_at <= g.at.timestamp():
        return json_response(INACTIVE, headers=NO_STORE)
    return json_response(describe_token(inspection.token), headers=NO_STORE)


def describe_token(token: AccessToken) -> dict[str, Any]:
    """Return the response for an active token (RFC 7662 section 2.2, RFC 9449 section 6.2)."""
    body: dict[str, Any] = {
        "active": True,
        "scope": " ".join(sorted(token.scope)),
        "client_id": str(token.agent_id),
        "token_type": "DPoP" if token.jkt else "Bearer",
        "exp": token.expires_at,
        "iat": token.issued_at,
        "sub": token.subject,
        "aud": token.audience,
        "iss": services().settings.issuer,
        "jti": token.jti,
        "organization_id": token.organization_id,
    }
    if not token.scope:
        del body["scope"]
    if token.resource is not None:
        body["resource"] = token.resource
    if token.delegation is not None:
        body |= token.delegation.build_claims()
    if token.jkt:
        body["cnf"] = {"jkt": token.jkt}
    return body


@dataclass(frozen=True, slots=True)
class TokenInspection:
    """The authenticated client of a request, and the token that the request contains.

    :param token: ``None`` if the token is not valid or belongs to another organization.
    """

    client: Client
    client_scopes: frozenset[str]
    token: AccessToken | None
    is_active: bool


def read_token_form(request: Request) -> dict[str, str]:
    """Return the form of a request, or raise ``invalid_request`` for a form without a token."""
    form = read_form(request)
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing")
    return form


def inspect_token(request: Request, unverified_token: str, client: Client, at: datetime) -> TokenInspection:
    """Authenticate the request's client and inspect a token, in one round trip."""
    token = _verify_own_token(client.organization_id, unverified_token)
    database = services().database.of(client.organization_id, at)
    token_parameters = _build_token_parameters(token)

    def authenticate_and_inspect(client: Client) -> Any:
        credential_parameters = {
            "agent_id": client.agent_id,
            "secret_hash": client.secret_hash,
            "key_or_rule": client.key_or_rule,
            "digest": client.assertion_digest,
            "expires_at": client.digest_expires_at,
        }
        introspection_call = Call("oauth/introspect_token", credential_parameters | token_parameters)
        # The statement records the use of an assertion. A crash must not lose this record.
        [client_rows] = database.run(introspection_call, durable=client.assertion_digest is not None)
        return client_rows[0] if client_rows else None

    client, client_row = client_authentication.authenticate(request, client, at, authenticate_and_inspect)
    request_context = current_context()
    request_context.organization_id, request_context.agent_id = client.organization_id, client.agent_id
    return TokenInspection(client, frozenset(client_row.scopes), token, client_row.is_active)


def _build_token_parameters(token: AccessToken | None) -> dict[str, Any]:
    delegation = token and token.delegation
    return {
        "token_agent_id": token and token.agent_id,
        "jti": token and token.jti,
        "issued_at": token and token.issue_instant,
        "audience": token and token.audience,
        "own_resource": services().settings.resource,
        "delegation_agent_ids": delegation and delegation.agent_ids,
        "delegation_jtis": delegation and delegation.jtis,
        "delegation_audiences": delegation and delegation.audiences,
        "delegation_rule_id": delegation and delegation.rule_id,
    }


def _verify_own_token(organization_id: str, unverified_token: str) -> AccessToken | None:
    try:
        token = verify_token(unverified_token, audience=None)
    except TokenRefused:
        return None
    return token if token.organization_id == organization_id else None
