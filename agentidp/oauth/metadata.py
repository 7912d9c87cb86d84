"""Publish the JWKS (RFC 7517), and the metadata of the server (RFC 8414, OpenID Connect Discovery 1.0, RFC 9728)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.caller import public
from agentidp.config import SIGNING_ALGORITHMS
from agentidp.http.error_rendering import oauth_errors
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.jose.jwk import ALGORITHMS
from agentidp.jose.signing_keys import JWKS_MAX_AGE
from agentidp.oauth import id_jag
from agentidp.oauth.client_authentication import METHODS
from agentidp.oauth.issuance import GRANT_TYPES
from agentidp.paths import TOKEN_ENDPOINT
from agentidp.scopes import DEFAULT_SCOPES, SCOPES
from agentidp.services import services

blueprint = Blueprint("oauth-metadata", __name__, description="Discovery and keys")

RESPONSE_TYPES = ("code", "id_token")
"""Supported response types. This server issues no ID tokens, but clouds expect issuers to list ``id_token``."""

CLAIMS = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "organization_id", "scope", "resource", "cnf")
"""Claims of our tokens. OpenID Connect Discovery recommends to list the claims."""

_BASE64URL = ma.validate.Regexp(r"[A-Za-z0-9_-]+\Z")
CACHED = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE}"}


def _list_of(values: Iterable[str]) -> ma.fields.List[str]:
    return ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(tuple(values))), required=True)


class JwkSchema(ma.Schema):
    """A public key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2)."""

    kty = ma.fields.String(required=True, validate=ma.validate.OneOf(["EC", "RSA", "OKP"]))
    alg = ma.fields.String(required=True, validate=ma.validate.OneOf(ALGORITHMS))
    use = ma.fields.String(required=True, validate=ma.validate.Equal("sig"))
    kid = ma.fields.String()
    crv = ma.fields.String(validate=ma.validate.OneOf(["P-256", "P-384", "Ed25519"]))
    x = ma.fields.String(validate=_BASE64URL)
    y = ma.fields.String(validate=_BASE64URL)
    n = ma.fields.String(validate=_BASE64URL)
    e = ma.fields.String(validate=_BASE64URL)


class JwksSchema(ma.Schema):
    """The public keys that verify our tokens (RFC 7517 section 5)."""

    keys = ma.fields.List(ma.fields.Nested(JwkSchema), required=True)


SERVER_MEMBERS: dict[str, str | Sequence[str] | bool] = {
    "issuer": "",
    "authorization_endpoint": "/authorize",
    "token_endpoint": TOKEN_ENDPOINT,
    "introspection_endpoint": f"{TOKEN_ENDPOINT}/introspect",
    "revocation_endpoint": f"{TOKEN_ENDPOINT}/revoke",
    "jwks_uri": "/.well-known/jwks.json",
    "scopes_supported": list(SCOPES),
    "response_types_supported": RESPONSE_TYPES,
    "grant_types_supported": GRANT_TYPES,
    "authorization_grant_profiles_supported": [id_jag.PROFILE],
    "response_modes_supported": ["query"],
    "code_challenge_methods_supported": ["S256"],
    "authorization_response_iss_parameter_supported": True,
    "client_id_metadata_document_supported": True,
    "token_endpoint_auth_methods_supported": [*METHODS, "none"],
    "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    "introspection_endpoint_auth_methods_supported": METHODS,
    "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    "revocation_endpoint_auth_methods_supported": [*METHODS, "none"],
    "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    "dpop_signing_alg_values_supported": ALGORITHMS,
}
"""Metadata of the authorization server (RFC 8414 section 2, 9207 section 3, 9449 section 5.1). A string is a path below
the issuer, and a list contains the supported values."""

OPENID_MEMBERS = SERVER_MEMBERS | {
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": SIGNING_ALGORITHMS,
    "claims_supported": CLAIMS,
}
"""Metadata of the authorization server in the form of OpenID Connect Discovery 1.0 section 3."""


def _build_server_schema(name: str, members: dict[str, str | Sequence[str] | bool]) -> type[ma.Schema]:
    schema_fields: dict[str, ma.fields.Field[Any]] = {}
    for member_name, value in members.items():
        if isinstance(value, bool):
            schema_fields[member_name] = ma.fields.Boolean(required=True, validate=ma.validate.Equal(value))
        else:
            schema_fields[member_name] = ma.fields.Url(required=True) if isinstance(value, str) else _list_of(value)
    schema_fields["protected_resources"] = ma.fields.List(ma.fields.Url(), required=True)  # RFC 9728 section 4
    return ma.Schema.from_dict(schema_fields, name=name)


AuthorizationServerSchema = _build_server_schema("AuthorizationServerSchema", SERVER_MEMBERS)
OpenIDProviderSchema = _build_server_schema("OpenIDProviderSchema", OPENID_MEMBERS)


class ProtectedResourceSchema(ma.Schema):
    """Metadata of a resource server (RFC 9728 section 2)."""

    resource = ma.fields.Url(required=True)
    authorization_servers = ma.fields.List(ma.fields.Url(), required=True)
    jwks_uri = ma.fields.Url(required=True)
    scopes_supported = _list_of(SCOPES)
    bearer_methods_supported = _list_of(["header"])
    dpop_signing_alg_values_supported = _list_of(ALGORITHMS)
    resource_name = ma.fields.String(required=True)


@blueprint.route("/.well-known/jwks.json")
@public
@oauth_errors
@blueprint.response(200, JwksSchema)
@blueprint.alt_response(503, "OAUTH_SERVICE_UNAVAILABLE")
def jwks() -> Response:
    """The public keys that verify our tokens."""
    return json_response(services().keys.current().jwks, headers=CACHED)


@blueprint.route("/.well-known/oauth-authorization-server")
@public
@oauth_errors
@blueprint.response(200, AuthorizationServerSchema)
def authorization_server() -> Response:
    """The endpoints of this authorization server and what they support."""
    return _respond_with_server_metadata(SERVER_MEMBERS)


@blueprint.route("/.well-known/openid-configuration")
@public
@oauth_errors
@blueprint.response(200, OpenIDProviderSchema)
def openid_configuration() -> Response:
    """The authorization server's metadata at the address and with the members that OpenID Connect requires."""
    return _respond_with_server_metadata(OPENID_MEMBERS)


def _respond_with_server_metadata(members: dict[str, str | Sequence[str] | bool]) -> Response:
    settings = services().settings
    metadata = {
        member_name: settings.issuer + member_value if isinstance(member_value, str) else member_value
        for member_name, member_value in members.items()
    }
    return json_response(metadata | {"protected_resources": [settings.resource]}, headers=CACHED)


@blueprint.route("/.well-known/oauth-protected-resource/api/v1")
@public
@oauth_errors
@blueprint.response(200, ProtectedResourceSchema)
def protected_resource() -> Response:
    """The metadata of our own API, for clients without a token (RFC 9728)."""
    return _respond_with_resource_metadata(SCOPES)


@blueprint.route("/.well-known/oauth-protected-resource/api/v1/mcp")
@public
@oauth_errors
@blueprint.response(200, ProtectedResourceSchema)
def protected_mcp() -> Response:
    """The metadata of our own API for MCP clients, with the default scopes only, because clients request all listed
    scopes."""
    return _respond_with_resource_metadata(DEFAULT_SCOPES)


def _respond_with_resource_metadata(scopes: Iterable[str]) -> Response:
    settings = services().settings
    metadata = {
        "resource": settings.resource,
        "authorization_servers": [settings.issuer],
        "jwks_uri": f"{settings.issuer}/.well-known/jwks.json",
        "scopes_supported": list(scopes),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "resource_name": "AgentIdP",
    }
    return json_response(metadata, headers=CACHED)
