"""``POST /api/v1/token``: the token endpoint (RFC 6749 sections 3.2, 4.4 and 5)."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import marshmallow as ma
from flask import Request, Response, g, request

from ..authentication import public
from ..contract import Blueprint, is_resource_identifier, json_response
from ..errors import OAuthError
from ..services import services
from . import client_authentication, issuance

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
MAXIMUM_PARAMETERS = 50

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")

blueprint = Blueprint("oauth-token", __name__, description="OAuth 2.0 token endpoint")


class TokenRequestSchema(ma.Schema):
    """The form of a token request, as documentation; :func:`read_form` and the checks below are what reads it."""

    grant_type = ma.fields.String(required=True, validate=ma.validate.Equal("client_credentials"))
    scope = ma.fields.String(metadata={"description": "Space-separated; all that the agent has when left out"})
    client_id = ma.fields.String(metadata={"description": "The agent's UUID; or use HTTP Basic"})
    client_secret = ma.fields.String(metadata={"description": "Or use HTTP Basic"})


class TokenResponseSchema(ma.Schema):
    """RFC 6749 section 5.1."""

    access_token = ma.fields.String(required=True)
    token_type = ma.fields.String(required=True, validate=ma.validate.Equal("Bearer"))
    expires_in = ma.fields.Integer(required=True, metadata={"description": "Seconds"})
    scope = ma.fields.String()


@blueprint.route("/api/v1/token", methods=["POST"])
@public
@blueprint.response(200, TokenResponseSchema)
@blueprint.doc(
    security=[],
    requestBody={"content": {"application/x-www-form-urlencoded": {"schema": TokenRequestSchema}}},
)
def issue_token() -> Response:
    """Issue an access token to an agent."""
    form = read_form(request)
    check_grant_type(form)
    scope = requested_scope(form)
    resource = requested_resource(form)
    client = client_authentication.presented_client(request, form, g.at)
    s = services()
    signing_key = s.keys.current().signing
    granted = issuance.record(
        s.database,
        client,
        scope=scope,
        resource=resource,
        has_proof=False,
        at=g.at,
    )
    if granted is None:
        client_authentication.refuse(client, g.at)
    body = issuance.token_response(s, signing_key, client, granted, resource=resource, at=g.at)
    g.organization_id, g.agent_id = client.organization_id, client.agent_id
    return json_response(body, headers=NO_STORE)


def read_form(request: Request) -> dict[str, str]:
    """The parameters of a form-encoded request; one without a value counts as omitted (section 3.2).

    :raises OAuthError: ``invalid_request`` for another content type, a parameter that comes twice, text that is
        not UTF-8, or a secret in the URL.
    """
    if request.mimetype != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
    if not {"client_secret", "client_assertion", "client_id"}.isdisjoint(request.args):
        raise OAuthError("invalid_request", "client credentials must not be sent in the URL")
    try:
        pairs = parse_qsl(
            request.get_data().decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAXIMUM_PARAMETERS,
        )
    except (UnicodeError, ValueError):
        raise OAuthError("invalid_request", "the body is not a form in UTF-8") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise OAuthError("invalid_request", "a parameter is repeated")
    return {name: value for name, value in pairs if value}


def check_grant_type(form: dict[str, str]) -> None:
    """:raises OAuthError: ``invalid_request`` without a grant type, ``unsupported_grant_type`` for another."""
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type is missing")
    if form["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", "only client_credentials is supported")


def requested_scope(form: dict[str, str]) -> list[str] | None:
    """The scopes asked for, each once and in their order, or ``None`` for all that the agent has (section 3.3).

    :raises OAuthError: ``invalid_scope`` for characters that a scope cannot have.
    """
    scope = form.get("scope")
    if scope is None:
        return None
    if not _SCOPE.fullmatch(scope):
        raise OAuthError("invalid_scope", "scope has characters or blanks that it must not have")
    return list(dict.fromkeys(scope.split(" ")))


def requested_resource(form: dict[str, str]) -> str | None:
    """The resource server that the token is for, or ``None`` for our own API (RFC 8707 section 2).

    :raises OAuthError: ``invalid_target`` for what is not an absolute URI without fragment.
    """
    resource = form.get("resource")
    if resource is None or resource == services().settings.resource:
        return None
    if not is_resource_identifier(resource):
        raise OAuthError("invalid_target", "resource must be an absolute URI without fragment")
    return resource
