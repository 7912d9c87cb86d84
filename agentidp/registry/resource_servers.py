"""``/api/v1/resource-servers``: the APIs for which an organization's agents can get tokens (RFC 8707)."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.http.errors import Conflict, NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import (
    MAXIMUM_RESOURCE_LENGTH,
    RESOURCE_IDENTIFIER,
    ScopeList,
    Text,
    is_resource_identifier,
    timestamp,
)
from agentidp.registry.resource_identifiers import ResourceTaken, claim
from agentidp.scopes import SCOPES
from agentidp.services import services

blueprint = Blueprint("resource-servers", __name__, description="Resource servers of the organization")

MAXIMUM_RESOURCE_SERVERS = 100
"""Of one organization."""


class NewResourceServerSchema(ma.Schema):
    """The body that registers a resource server."""

    resource = ma.fields.String(
        required=True,
        error_messages={"invalid": "must be a string"},
        metadata={
            "description": "Its identifier, an absolute URI without fragment: the `aud` of its tokens",
            "pattern": f"^{RESOURCE_IDENTIFIER}$",
            "maxLength": MAXIMUM_RESOURCE_LENGTH,
        },
    )
    name = Text(1, 100, required=True)
    scopes = ScopeList(load_default=list)

    @ma.validates("resource")
    def must_be_foreign(self, resource: str, data_key: str) -> None:
        """An absolute URI, and not one of this server's own, which are the audiences of its tokens."""
        if not is_resource_identifier(resource):
            raise ma.ValidationError("must be an absolute URI of at most 500 characters without fragment")
        if resource in services().settings.own_audiences:
            raise ma.ValidationError("must not be this server's own API or dashboard")

    @ma.validates("scopes")
    def must_not_be_ours(self, scopes: list[str], data_key: str) -> None:
        """Scopes with the names of our own would mislead readers, although the token names its resource."""
        if not SCOPES.keys().isdisjoint(scopes):
            raise ma.ValidationError("must not hold a scope of this server's own API: " + ", ".join(SCOPES))


class ResourceServerSchema(ma.Schema):
    """A resource server."""

    resourceServerId = ma.fields.UUID(required=True)
    resource = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    scopes = ma.fields.List(ma.fields.String(), required=True)
    createdAt = ma.fields.AwareDateTime(required=True)


class ResourceServerListSchema(ma.Schema):
    """All resource servers, oldest first."""

    data = ma.fields.List(ma.fields.Nested(ResourceServerSchema), required=True)


@blueprint.route("/api/v1/resource-servers", methods=["POST"])
@bearer("agents:write")
@blueprint.arguments(NewResourceServerSchema)
@blueprint.response(201, ResourceServerSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_resource_server(caller: Caller, new: dict[str, Any]) -> Response:
    """Register a resource server. Its scopes can then be given to agents, and its identifier belongs to the
    organization: no other can register it, not even once the resource server is deleted.
    """
    with caller.transaction() as opened:
        claim(opened, new["resource"])
        try:
            rows = opened.fetch(
                "oauth/add_resource_server",
                resource_server_id=uuid.uuid4(),
                most=MAXIMUM_RESOURCE_SERVERS,
                **new,
            )
        except psycopg.errors.UniqueViolation:
            raise ResourceTaken from None
        if not rows:
            raise Conflict(
                f"The organization has {MAXIMUM_RESOURCE_SERVERS} resource servers; delete one first.",
                details={"resource": [f"at most {MAXIMUM_RESOURCE_SERVERS} at a time"]},
            )
    body = represent(rows[0])
    return json_response(body, 201, {"Location": f"/api/v1/resource-servers/{body['resourceServerId']}"})


@blueprint.route("/api/v1/resource-servers")
@bearer("agents:read")
@blueprint.response(200, ResourceServerListSchema)
def list_resource_servers(caller: Caller) -> Response:
    """List the resource servers, oldest first."""
    return json_response({"data": [represent(row) for row in caller.read("oauth/list_resource_servers")]})


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>")
@bearer("agents:read")
@blueprint.response(200, ResourceServerSchema)
def get_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Return one resource server."""
    rows = caller.read("oauth/get_resource_server", resource_server_id=resource_server_id)
    if not rows:
        raise NotFound
    return json_response(represent(rows[0]))


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Delete a resource server: no further token is issued for it, and introspection reports its tokens as inactive.
    If only their signature is verified, they work until they expire. The organization keeps the identifier.
    """
    with caller.transaction() as opened:
        if not opened.fetch(
            "oauth/delete_resource_server",
            resource_server_id=resource_server_id,
        ):
            raise NotFound
    return Response(status=204)


def represent(row: Any) -> dict[str, Any]:
    """A resource server's row as our JSON."""
    return {
        "resourceServerId": str(row.resource_server_id),
        "resource": row.resource,
        "name": row.name,
        "scopes": row.scopes,
        "createdAt": timestamp(row.created_at),
    }
