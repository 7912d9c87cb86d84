"""``/api/v1/resource-servers``: the APIs for which an organization's agents can get tokens (RFC 8707)."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config import MAX_TOKEN_TTL, MIN_TOKEN_TTL, Settings
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.resource_identifier import (
    AUDIENCE,
    MAX_AUDIENCE_LENGTH,
    MAX_RESOURCE_LENGTH,
    RESOURCE_IDENTIFIER,
    claim_of,
    is_audience,
    is_resource_identifier,
)
from agentidp.http.responses import json_response
from agentidp.http.schemas import MAX_NAME, ChangeSchema, Flag, Number, ScopeList, Text, timestamp
from agentidp.jose.access_token import AGENT, SUBJECTS
from agentidp.registry.resource_identifiers import ResourceTaken, claim
from agentidp.scopes import SCOPES
from agentidp.services import services

blueprint = Blueprint("resource-servers", __name__, description="Resource servers of the organization")

MAX_RESOURCE_SERVERS = 100
"""Of one organization."""

TOKEN_PER_CALL = {
    "description": "Whether agents are to request a token for each call: then the finding `uncached_tokens` leaves its "
    "tokens out"
}
AUDIENCE_OF_TOKENS = {
    "description": "The `aud` of its tokens if it is not the identifier, as clouds demand. Null: the identifier",
    "pattern": f"^{AUDIENCE}$",
    "maxLength": MAX_AUDIENCE_LENGTH,
}
TOKEN_TTL = {"description": "Seconds that its tokens are valid. Null: as many as those of our own API"}
SUBJECT = {
    "description": "The `sub` of its tokens: `agent` is the agent's id, `organization-agent` is "
    "`org:{organizationId}:agent:{agentId}`"
}
"""What the OpenAPI document says of the members."""


_ONE_OF_SUBJECTS = f"must be one of {', '.join(SUBJECTS)}"


class _ResourceServerFields(ma.Schema):
    """What can be said of a resource server, and changed."""

    name = Text(1, MAX_NAME, required=True)
    scopes = ScopeList(load_default=list)
    tokenPerCall = Flag(load_default=False, attribute="token_per_call", metadata=TOKEN_PER_CALL)
    audience = ma.fields.String(
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be a string or null"},
        metadata=AUDIENCE_OF_TOKENS,
    )
    tokenTtl = Number(
        MIN_TOKEN_TTL, MAX_TOKEN_TTL, allow_none=True, load_default=None, attribute="token_ttl", metadata=TOKEN_TTL
    )
    subject = ma.fields.String(
        load_default=AGENT,
        validate=ma.validate.OneOf(SUBJECTS, error=_ONE_OF_SUBJECTS),
        error_messages=dict.fromkeys(("invalid", "null"), _ONE_OF_SUBJECTS),
        metadata=SUBJECT,
    )

    @ma.validates("scopes")
    def must_not_be_ours(self, scopes: list[str], data_key: str) -> None:
        """Scopes with the names of our own would mislead readers, although the token names its resource."""
        if not SCOPES.keys().isdisjoint(scopes):
            raise ma.ValidationError("must not contain a scope of this server's own API: " + ", ".join(SCOPES))

    @ma.validates("audience")
    def must_be_an_audience(self, audience: str | None, data_key: str) -> None:
        """The pattern is for the OpenAPI document only."""
        if audience is not None and not is_audience(audience):
            characters = f"1 to {MAX_AUDIENCE_LENGTH} printable ASCII characters"
            raise ma.ValidationError(f"must be {characters} without blank, quote and backslash, or null")


class NewResourceServerSchema(_ResourceServerFields):
    """The body that registers a resource server."""

    resource = ma.fields.String(
        required=True,
        error_messages={"invalid": "must be a string"},
        metadata={
            "description": "Its identifier, an absolute URI without fragment: the `aud` of its tokens by default",
            "pattern": f"^{RESOURCE_IDENTIFIER}$",
            "maxLength": MAX_RESOURCE_LENGTH,
        },
    )

    @ma.validates("resource")
    def must_be_an_identifier(self, resource: str, data_key: str) -> None:
        """The pattern is for the OpenAPI document only."""
        if not is_resource_identifier(resource):
            raise ma.ValidationError(
                f"must be an absolute URI of at most {MAX_RESOURCE_LENGTH} characters without fragment"
            )


class ResourceServerChangeSchema(ChangeSchema, _ResourceServerFields):
    """The body that changes a resource server: what is left out stays. Its identifier cannot be changed."""


_CHANGEABLE = {name: field.attribute or name for name, field in ResourceServerChangeSchema().fields.items()}
"""Member -> column, and parameter of ``sql/oauth/change_resource_server.sql``. The audit trail records them too."""


class ResourceServerSchema(ma.Schema):
    """A resource server."""

    resourceServerId = ma.fields.UUID(required=True)
    resource = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    scopes = ma.fields.List(ma.fields.String(), required=True)
    createdAt = ma.fields.AwareDateTime(required=True)
    tokenPerCall = ma.fields.Boolean(required=True, metadata=TOKEN_PER_CALL)
    audience = ma.fields.String(required=True, allow_none=True, metadata=AUDIENCE_OF_TOKENS)
    tokenTtl = Number(MIN_TOKEN_TTL, MAX_TOKEN_TTL, allow_none=True, required=True, metadata=TOKEN_TTL)
    subject = ma.fields.String(required=True, validate=ma.validate.OneOf(SUBJECTS), metadata=SUBJECT)


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
        row = add_resource_server(opened, services().settings, **new)
    body = represent(row)
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
    row = existing(caller.read("oauth/get_resource_server", resource_server_id=resource_server_id))
    return json_response(represent(row))


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>", methods=["PATCH"])
@bearer("agents:write")
@blueprint.arguments(ResourceServerChangeSchema)
@blueprint.response(200, ResourceServerSchema)
def change_resource_server(caller: Caller, change: dict[str, Any], resource_server_id: UUID) -> Response:
    """Change what is said of a resource server, except its identifier. No further token is issued with a scope that
    is removed; tokens that have it work until they expire. Introspection reports tokens with an audience that was
    replaced as inactive.
    """
    with caller.transaction() as opened:
        row = update_resource_server(opened, services().settings, resource_server_id, change)
    return json_response(represent(row))


@blueprint.route("/api/v1/resource-servers/<uuid:resource_server_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_resource_server(caller: Caller, resource_server_id: UUID) -> Response:
    """Delete a resource server: no further token is issued for it, and introspection reports its tokens as inactive.
    If only their signature is verified, they work until they expire. The organization keeps the identifier.
    """
    with caller.transaction() as opened:
        remove_resource_server(opened, resource_server_id)
    return Response(status=204)


def add_resource_server(
    opened: Transaction,
    settings: Settings,
    *,
    resource: str,
    name: str,
    scopes: list[str],
    token_per_call: bool = False,
    audience: str | None = None,
    token_ttl: int | None = None,
    subject: str = AGENT,
) -> Any:
    """Register a resource server and claim its identifier and its audience.

    :returns: its row.
    :raises ValidationError: the identifier or the audience is one of this server's own.
    :raises ResourceTaken: another organization holds one of them, or this one has registered the identifier.
    :raises Conflict: the organization has as many resource servers, or identifiers, as it may.
    """
    _claim(opened, settings, "resource", resource)
    audience_claim = _claim_audience(opened, settings, audience)
    try:
        rows = opened.fetch(
            "oauth/add_resource_server",
            resource_server_id=uuid.uuid4(),
            resource=resource,
            name=name,
            scopes=scopes,
            token_per_call=token_per_call,
            audience=audience,
            audience_claim=audience_claim,
            token_ttl=token_ttl,
            subject=subject,
            most=MAX_RESOURCE_SERVERS,
        )
    except psycopg.errors.UniqueViolation:
        raise ResourceTaken from None
    if not rows:
        raise Conflict(
            f"The organization has {MAX_RESOURCE_SERVERS} resource servers; delete one first.",
            details={"resource": [f"at most {MAX_RESOURCE_SERVERS} at a time"]},
        )
    [row] = rows
    audit.record(opened, "resource_server.created", row.resource_server_id, after=_recorded(row))
    return row


def _claim(opened: Transaction, settings: Settings, member: str, resource: str) -> None:
    [found] = opened.fetch("oauth/own_resource", resource=resource, own=list(settings.own_audiences))
    if found.is_own:
        raise ValidationError(details={member: ["must not be this server's own API or dashboard"]})
    claim(opened, resource, member=member)


def _claim_audience(opened: Transaction, settings: Settings, audience: str | None) -> str | None:
    """:returns: what the organization must hold to get tokens with it, if that is not the identifier."""
    claimed = claim_of(audience) if audience else None
    if claimed is not None:
        _claim(opened, settings, "audience", claimed)
    return claimed


def update_resource_server(
    opened: Transaction, settings: Settings, resource_server_id: UUID, change: dict[str, Any]
) -> Any:
    """Change a resource server.

    :param change: what :class:`ResourceServerChangeSchema` loads; what is left out stays.
    :returns: its row.
    :raises NotFound: the organization has no such resource server.
    :raises ValidationError: the audience is one of this server's own.
    :raises ResourceTaken: another organization holds the audience.
    """
    before = existing(opened.fetch("oauth/lock_resource_server", resource_server_id=resource_server_id))
    values = dict.fromkeys((*_CHANGEABLE.values(), "audience_claim")) | change
    if "audience" in change:
        values["audience_claim"] = _claim_audience(opened, settings, change["audience"])
    for column, nothing in {"audience": "", "token_ttl": 0}.items():
        if column in change and change[column] is None:
            # For the statement, null leaves a column as it is.
            values[column] = nothing
    [row] = opened.fetch("oauth/change_resource_server", resource_server_id=resource_server_id, **values)
    audit.record(opened, "resource_server.changed", resource_server_id, before=_recorded(before), after=_recorded(row))
    return row


def remove_resource_server(opened: Transaction, resource_server_id: UUID) -> None:
    """Delete a resource server; its organization keeps the identifier.

    :raises NotFound: the organization has no such resource server.
    """
    row = existing(opened.fetch("oauth/delete_resource_server", resource_server_id=resource_server_id))
    audit.record(opened, "resource_server.deleted", resource_server_id, before=_recorded(row))


def _recorded(row: Any) -> dict[str, Any]:
    """What the audit trail records of a resource server."""
    body = represent(row)
    return {name: body[name] for name in ("resource", *_CHANGEABLE)}


def represent(row: Any) -> dict[str, Any]:
    """A resource server's row as our JSON."""
    return {
        "resourceServerId": str(row.resource_server_id),
        "resource": row.resource,
        "name": row.name,
        "scopes": row.scopes,
        "createdAt": timestamp(row.created_at),
        # Last, so that the columns that the commands print stay where they are.
        **{name: getattr(row, column) for name, column in _CHANGEABLE.items() if name not in ("name", "scopes")},
    }
