"""``GET /``: the addresses of the dashboard, the documentation and the token endpoint."""

from __future__ import annotations

import importlib.metadata

import marshmallow as ma
from flask import Response, request

from agentidp.caller import public
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.services import services

blueprint = Blueprint("index", __name__, description="Index")


class IndexSchema(ma.Schema):
    """The URLs of the dashboard, the documentation and the main endpoints."""

    name = ma.fields.String(required=True, validate=ma.validate.Equal("AgentIdP"))
    version = ma.fields.String(required=True)
    dashboard = ma.fields.Url(required=True)
    documentation = ma.fields.Url(required=True)
    openapi = ma.fields.Url(required=True)
    authorizationServer = ma.fields.Url(required=True)
    tokenEndpoint = ma.fields.Url(required=True)


@blueprint.route("/")
@public
@blueprint.response(200, IndexSchema)
@blueprint.response(303, description="A browser is sent to the dashboard", headers=["Location"])
def index() -> Response:
    """Redirect a browser to the dashboard. Otherwise return the URLs of the dashboard and of the main endpoints."""
    settings = services().settings
    if request.accept_mimetypes.best_match(("application/json", "text/html")) == "text/html":
        return Response(status=303, headers={"Location": settings.dashboard, "Vary": "Accept"})
    response_body = {
        "name": "AgentIdP",
        "version": importlib.metadata.version("agentidp"),
        "dashboard": settings.dashboard,
        "documentation": f"{settings.issuer}/docs",
        "openapi": f"{settings.issuer}/api/v1/openapi.json",
        "authorizationServer": f"{settings.issuer}/.well-known/oauth-authorization-server",
        "tokenEndpoint": f"{settings.issuer}/api/v1/token",
    }
    return json_response(response_body, headers={"Vary": "Accept"})
