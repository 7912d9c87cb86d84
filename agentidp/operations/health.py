"""``GET /healthz`` and ``GET /readyz``: whether the process responds, and whether it can serve requests."""

from __future__ import annotations

import marshmallow as ma
import psycopg
from flask import Response

from agentidp.caller import public
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.migrations import NewerSchema, list_pending_steps
from agentidp.http.errors import ServiceUnavailable
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.services import services

blueprint = Blueprint("operations", __name__, description="Health")


class SchemaMissing(ServiceUnavailable):
    """503: the database's schema is missing or out of date."""

    message = "The database's schema is missing or out of date: run agentidp db migrate."


class NoSigningKey(ServiceUnavailable):
    """503: this process has no signing key that it can decrypt."""

    message = (
        "No token can be issued, because no signing key is usable. Run agentidp check with this server's settings."
    )


class StatusSchema(ma.Schema):
    """The response of a healthy process."""

    status = ma.fields.String(required=True, validate=ma.validate.Equal("ok"))


@blueprint.route("/healthz")
@public
@blueprint.response(200, StatusSchema)
def healthz() -> Response:
    """Return 200 if the process responds."""
    return json_response({"status": "ok"})


@blueprint.route("/readyz")
@public
@blueprint.response(200, StatusSchema)
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def readyz() -> Response:
    """Return 200 if the database responds, its schema is up to date and this process has a signing key, else 503."""
    try:
        migration_rows = services().database.fetch_unscoped("database/applied_migrations")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        # The schema counts as missing if there is no table of migrations, or if the service has no right to read it.
        raise SchemaMissing from None
    try:
        pending_steps = list_pending_steps([migration_row.name for migration_row in migration_rows])
    except NewerSchema:
        # A newer release has migrated the database. The newer schema also works with this release.
        pending_steps = []
    if pending_steps:
        raise SchemaMissing
    try:
        # The keys are cached. Only a process without a key reads the database, at most once in two seconds.
        services().keys.current()
    except DatabaseUnavailable:
        raise NoSigningKey from None
    return json_response({"status": "ok"})
