"""Serves the OpenAPI document, and a page to browse the document and try it out.

:mod:`agentidp.http.openapi` generates the document from the routes and their schemas. The general information about the
API is in this module. The page loads all its assets from this server.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
from pathlib import Path
from typing import Any

from flask import Response, current_app

from agentidp.caller import public
from agentidp.http.assets import Asset, Assets
from agentidp.http.openapi import Blueprint, build_document
from agentidp.scopes import SCOPES
from agentidp.services import services

blueprint = Blueprint("api-docs", __name__, description="This description")

PAGE_DIRECTORY = Path(__file__).resolve().parent / "static" / "docs"
SWAGGER_UI = Path(str(importlib.resources.files("flask_swagger_ui"))) / "dist"
ASSETS = Assets(
    {
        "start.js": Asset(PAGE_DIRECTORY / "start.js", "text/javascript"),
        "swagger-ui-bundle.js": Asset(SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
        "swagger-ui.css": Asset(SWAGGER_UI / "swagger-ui.css", "text/css"),
        "favicon-32x32.png": Asset(SWAGGER_UI / "favicon-32x32.png", "image/png"),
    },
    max_age=3600,
)

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""The response headers by which a browser lets the page communicate only with this server."""

DESCRIPTION = """\
An identity provider for AI agents that counts exactly every token that it issues.

An agent gets a token at `/api/v1/token` (OAuth 2.0 client credentials) and sends it as `Authorization: Bearer`. Our own
API uses camelCase, and its errors have `code`, `message` and `details`. The OAuth endpoints follow their RFCs.
All times and days are UTC. Unknown query parameters, and unknown fields in a JSON body, are refused.

Any operation can also return 500 with the code `INTERNAL_ERROR` or the error `server_error`: a fault of ours.
"""

AUTHENTICATION: dict[str, dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "RFC 6750, RFC 9068"},
    "dpop": {
        "type": "http",
        "scheme": "dpop",
        "description": "A token that is bound to a key, with a proof in the header `DPoP` (RFC 9449 section 7)",
    },
    "clientSecretBasic": {
        "type": "http",
        "scheme": "basic",
        "description": "The agent's UUID and its secret (RFC 6749 section 2.3.1)",
    },
}
"""The security schemes of the OpenAPI document that do not depend on the settings."""


@blueprint.route("/api/v1/openapi.json")
@public
@blueprint.response(200, {"type": "object", "required": ["openapi", "info", "paths"]})
def openapi() -> Response:
    """Return this OpenAPI 3.1 document of the API."""
    extensions = current_app.extensions
    if "agentidp-openapi" not in extensions:
        extensions["agentidp-openapi"] = json.dumps(openapi_document(), separators=(",", ":"), ensure_ascii=False)
    return Response(extensions["agentidp-openapi"], mimetype="application/json")


@blueprint.route("/docs")
@public
@blueprint.response(200, {"type": "string"}, content_type="text/html")
def page() -> Response:
    """Return a page on which people can read the OpenAPI document and try out the API."""
    return Response((PAGE_DIRECTORY / "index.html").read_bytes(), mimetype="text/html", headers=SECURITY)


@blueprint.route("/docs/<asset>")
@public
@blueprint.parameter({"in": "path", "name": "asset", "schema": {"type": "string", "enum": ASSETS.names}})
@blueprint.response(200, {"type": "string"}, content_type="text/javascript")
@blueprint.response(200, {"type": "string"}, content_type="text/css")
@blueprint.response(200, content_type="image/png")
def asset(asset: str) -> Response:
    """Return a script, style sheet or icon of the page ``/docs``."""
    return ASSETS.build_response(asset)


def openapi_document() -> dict[str, Any]:
    """Generate the OpenAPI document of the current application from its routes."""
    issuer = services().settings.issuer
    return build_document(
        current_app,
        title="AgentIdP",
        version="v1",
        info={"description": DESCRIPTION, "version": importlib.metadata.version("agentidp")},
        servers=[{"url": issuer}],
        security_schemes={
            "oauth2": {
                "type": "oauth2",
                "flows": {"clientCredentials": {"tokenUrl": f"{issuer}/api/v1/token", "scopes": SCOPES}},
            },
            **AUTHENTICATION,
        },
    )
