"""For the operator: is the process up, and can it serve?"""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from agentidp.caller import public
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.services import services

blueprint = Blueprint("operations", __name__, description="Health")


class StatusSchema(ma.Schema):
    """All is well."""

    status = ma.fields.String(required=True, validate=ma.validate.Equal("ok"))


@blueprint.route("/healthz")
@public
@blueprint.response(200, StatusSchema)
def healthz() -> Response:
    """The process responds."""
    return json_response({"status": "ok"})


@blueprint.route("/readyz")
@public
@blueprint.response(200, StatusSchema)
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def readyz() -> Response:
    """The database responds and has its schema. Otherwise 503."""
    services().database.fetch_unscoped("database/ping")
    return json_response({"status": "ok"})
