"""For the operator: is the process up, and can it serve?"""

from __future__ import annotations

from flask import Response

from .authentication import public
from .contract import Blueprint, json_response
from .services import services

blueprint = Blueprint("operations", __name__, description="Health")


@blueprint.route("/healthz")
@public
@blueprint.doc(security=[])
@blueprint.response(200, {"type": "object"})
def healthz() -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


@blueprint.route("/readyz")
@public
@blueprint.doc(security=[])
@blueprint.response(200, {"type": "object"})
def readyz() -> Response:
    """The database answers and has its schema; 503 otherwise."""
    services().database.fetch("database/ping")
    return json_response({"status": "ok"})
