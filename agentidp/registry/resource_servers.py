"""``/api/v1/resource-servers``: the APIs for which an organization's agents can get tokens (RFC 8707)."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg

from agentidp.caller.object_kind import ObjectKind
from agentidp.config import MAX_TOKEN_TTL, MIN_TOKEN_TTL, Settings
from agentidp.db.organization import Transaction
from agentidp.http import schemas
from agentidp.http.errors import ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.resource_identifier import (
    AUDIENCE,
    MAX_AUDIENCE_LENGTH,
    MAX_RESOURCE_LENGTH,
    RESOURCE_IDENTIFIER,
    owned_name,
)
from agentidp.jose.access_token import AGENT, SUBJECT_FORMS
from agentidp.registry.agents import refuse_unknown_agent
from agentidp.registry.resource_identifiers import ResourceTaken, claim_identifier
from agentidp.scopes import SCOPES

blueprint = Blueprint("resource-servers", __name__, description="Resource servers of the organization")

MAX_RESOURCE_SERVERS = 100
"""Maximum number of resource servers per organization."""


class ResourceServerFields(ma.Schema):
    resourceServerId = ma.fields.UUID(attribute="resource_server_id", dump_only=True)
    resource = schemas.Exact(
        MAX_RESOURCE_LENGTH,
        RESOURCE_IDENTIFIER,
        f"must be an absolute URI of at most {MAX_RESOURCE_LENGTH} characters without fragment",
        required=True,
        words="identifier",
        description="An absolute URI without fragment, which by default is the `aud` of tokens. The identifier "
        "belongs to the organization even after the resource server is deleted",
    )
    name = schemas.Text(1, schemas.MAX_NAME, required=True)
    scopes = schemas.ScopeList(load_default=list, description="What tokens for the resource server may do")
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    tokenPerCall = schemas.Flag(
        load_default=False,
        attribute="token_per_call",
        words="a token for each call",
        option="--per-call",
        description="Whether agents should request a token for each call, so that the finding `uncached_tokens` "
        "ignores tokens for this resource server",
    )
    audience = schemas.Exact(
        MAX_AUDIENCE_LENGTH,
        AUDIENCE,
        f"must be 1 to {MAX_AUDIENCE_LENGTH} printable ASCII characters without blank, quote and backslash, or null",
        load_default=None,
        description="The `aud` of tokens, if it must differ from the identifier, for example for a cloud",
        nothing="the identifier",
    )
    tokenTtl = schemas.Number(
        MIN_TOKEN_TTL,
        MAX_TOKEN_TTL,
        load_default=None,
        attribute="token_ttl",
        words="lifetime in seconds",
        option="--token-ttl",
        description="Seconds for which tokens are valid",
        nothing="the same as tokens for this API",
    )
    subject = schemas.Choice(
        SUBJECT_FORMS,
        load_default=AGENT,
        description="The `sub` of tokens, which is the agent's id for `agent`, and "
        "`org:{organizationId}:agent:{agentId}` for `organization-agent`",
    )
    agentId = schemas.AgentId(
        load_default=None,
        attribute="agent_id",
        words="agent",
        description="The agent that runs the resource server, and may exchange tokens to act for the agents that send "
        "them",
        nothing="no agent",
    )

    @ma.validates("scopes")
    def refuse_own_scopes(self, scopes: list[str], data_key: str) -> None:
        """Refuse scopes of our own API."""
        if not SCOPES.keys().isdisjoint(scopes):
            raise ma.ValidationError("must not contain a scope of this server's own API: " + ", ".join(SCOPES))


NewResourceServerSchema = schemas.new_schema(ResourceServerFields)
ResourceServerChangeSchema = schemas.change_schema(ResourceServerFields, "resource")
ResourceServerSchema = schemas.returned_schema(ResourceServerFields)

_CHANGEABLE = ResourceServerChangeSchema()

SERVERS = ObjectKind(
    "resource_server",
    blueprint,
    ResourceServerSchema,
    ["resource", *_CHANGEABLE.fields],
    delete_statement="oauth/delete_resource_server",
)
represent, remove_resource_server = SERVERS.represent, SERVERS.remove


def add_resource_server(
    transaction: Transaction, settings: Settings, *, resource: str, name: str, scopes: list[str], **members: Any
) -> Any:
    """Register a resource server, and make the organization the owner of its identifier and its audience.

    :param members: other members that :class:`NewResourceServerSchema` loads. Default: the defaults of the schema.
    :returns: the row of the resource server.
    :raises ValidationError: the identifier or the audience belongs to this server, the identifier is an audience that
        a cloud's customers share, or there is no such agent.
    :raises ResourceTaken: another organization owns the identifier or the audience, or the identifier is registered.
    :raises Conflict: the organization has the maximum number of resource servers or of identifiers.
    """
    default_members: dict[str, Any] = NewResourceServerSchema(exclude=["resource", "name", "scopes"]).load({})
    server_columns = default_members | {"resource": resource, "name": name, "scopes": scopes, **members}
    refuse_unknown_agent(transaction, server_columns["agent_id"])
    if owned_name(resource) is None:
        message = "must not be an audience that all customers of a cloud share: set it as the audience only"
        raise ValidationError(details={"resource": [message]})
    _check_and_claim(transaction, settings, "resource", resource)
    claimed_audience = _claim_audience(transaction, settings, server_columns["audience"])
    try:
        server_rows = transaction.fetch(
            "oauth/add_resource_server",
            resource_server_id=uuid.uuid4(),
            audience_claim=claimed_audience,
            max_resource_servers=MAX_RESOURCE_SERVERS,
            **server_columns,
        )
    except psycopg.errors.UniqueViolation:
        raise ResourceTaken from None
    error_details = {"resource": [f"at most {MAX_RESOURCE_SERVERS} at a time"]}
    return SERVERS.record_addition(transaction, server_rows, MAX_RESOURCE_SERVERS, error_details)


def _check_and_claim(transaction: Transaction, settings: Settings, member: str, resource: str) -> None:
    [row] = transaction.fetch("oauth/own_resource", resource=resource, own_identifiers=list(settings.own_audiences))
    if row.is_own:
        raise ValidationError(details={member: ["must not be this server's own API or dashboard"]})
    claim_identifier(transaction, resource, member=member)


def _claim_audience(transaction: Transaction, settings: Settings, audience: str | None) -> str | None:
    """Make the organization the owner of an audience's identifier, and return the identifier.

    :returns: the value of the column ``audience_claim``: ``None`` if *audience* is ``None``, or if all customers of a
        cloud share the audience, which then has no owner.
    """
    owned_identifier = owned_name(audience) if audience else None
    if owned_identifier is not None:
        _check_and_claim(transaction, settings, "audience", owned_identifier)
    return owned_identifier


def update_resource_server(
    transaction: Transaction, settings: Settings, resource_server_id: UUID, change: dict[str, Any]
) -> Any:
    """Change a resource server, and return its row.

    :param change: members that :class:`ResourceServerChangeSchema` loads; missing members keep their values.
    :raises NotFound: the organization has no such resource server.
    :raises ValidationError: the audience belongs to this server, or there is no such agent.
    :raises ResourceTaken: another organization owns the audience.
    """
    earlier_row = require_row(transaction.fetch("oauth/lock_resource_server", resource_server_id=resource_server_id))
    new_columns = schemas.merge_changed_columns(_CHANGEABLE, earlier_row, change)
    refuse_unknown_agent(transaction, change.get("agent_id"))
    if "audience" in change:
        new_columns["audience_claim"] = _claim_audience(transaction, settings, change["audience"])
    else:
        # The statement always sets audience_claim, which the earlier row does not contain.
        new_columns["audience_claim"] = owned_name(earlier_row.audience) if earlier_row.audience else None
    [new_row] = transaction.fetch("oauth/change_resource_server", resource_server_id=resource_server_id, **new_columns)
    SERVERS.record(transaction, before=earlier_row, after=new_row)
    return new_row


SERVERS.add_create_route(
    NewResourceServerSchema,
    lambda transaction, settings, members: add_resource_server(transaction, settings, **members),
    """Register a resource server. Agents can then have its scopes. No other organization can register its identifier,
    even after the resource server is deleted.
    """,
)
SERVERS.add_list_route("oauth/list_resource_servers", "List the resource servers, oldest first.")
SERVERS.add_get_route("oauth/get_resource_server", "Return one resource server.")
SERVERS.add_change_route(
    ResourceServerChangeSchema,
    update_resource_server,
    """Change a resource server, except its identifier. Tokens that were already issued keep a removed scope until they
    expire. Introspection reports tokens with a replaced audience as inactive.
    """,
    has_conflicts=True,
)
SERVERS.add_delete_route(
    """Delete a resource server. No further token is issued for it, and introspection reports its tokens as inactive.
    A resource server that verifies only the signature accepts them until they expire. The organization keeps the
    identifier.
    """
)
