"""The JWKS (RFC 7517) and the authorization server's metadata (RFC 8414)."""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from ..authentication import SCOPES, public
from ..contract import Blueprint, json_response
from ..services import services
from ..signing_keys import JWKS_MAX_AGE
from . import client_assertion
from .client_authentication import METHODS

blueprint = Blueprint("oauth-metadata", __name__, description="Discovery and keys")

CACHED = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE}"}


class JwksSchema(ma.Schema):
    """RFC 7517 section 5."""

    keys = ma.fields.List(ma.fields.Dict(), required=True)


@blueprint.route("/.well-known/jwks.json")
@public
@blueprint.response(200, JwksSchema)
@blueprint.doc(security=[])
def jwks() -> Response:
    """The public keys that verify our tokens."""
    return json_response(services().keys.current().jwks, headers=CACHED)


@blueprint.route("/.well-known/oauth-authorization-server")
@public
@blueprint.response(200, {"type": "object"})
@blueprint.doc(security=[])
def authorization_server() -> Response:
    """What this authorization server supports, and where."""
    issuer = services().settings.issuer
    body = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/api/v1/token",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "scopes_supported": list(SCOPES),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(client_assertion.ALGORITHMS),
        "protected_resources": [services().settings.resource],
    }
    return json_response(body, headers=CACHED)


@blueprint.route("/.well-known/oauth-protected-resource/api/v1")
@public
@blueprint.response(200, {"type": "object"})
@blueprint.doc(security=[])
def protected_resource() -> Response:
    """What our own API is to a client that meets it without a token (RFC 9728)."""
    settings = services().settings
    body = {
        "resource": settings.resource,
        "authorization_servers": [settings.issuer],
        "jwks_uri": f"{settings.issuer}/.well-known/jwks.json",
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": "AgentIdP",
    }
    return json_response(body, headers=CACHED)
