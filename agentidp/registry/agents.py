"""``/api/v1/agents``: the organization's agents."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Response

from agentidp import audit
from agentidp.audit.words import IS_ID
from agentidp.caller import Caller, bearer
from agentidp.caller.object_kind import ObjectKind
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call, Rows
from agentidp.http import schemas
from agentidp.http.errors import Conflict, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.redirect_uri import MAX_REDIRECT_URI, MAX_REDIRECT_URIS, REDIRECT_URI
from agentidp.http.responses import json_response
from agentidp.registry import quotas
from agentidp.registry.cursor import decode_cursor, encode_cursor
from agentidp.scopes import DEFAULT_SCOPES, SCOPES

blueprint = Blueprint("agents", __name__, description="Agents of the organization")

STATUSES = ("active", "suspended")
"""Statuses that an agent can have. A deleted agent has no status."""

OWNER = "The person, team or address to ask about the agent"
MIN_REPLICAS, MAX_REPLICAS = 1, 10_000
"""Minimum and maximum number of running instances that can be declared for an agent."""

MAX_DESCRIPTION = 1000
"""Maximum number of characters of an agent's description."""


def refuse_unknown_scopes(transaction: Transaction, scopes: list[str]) -> None:
    """Raise an error for the member ``scopes`` if a scope belongs neither to our own API nor to a resource server."""
    if not SCOPES.keys() >= {*scopes}:
        server_scopes = [server_row.scope for server_row in transaction.fetch("oauth/resource_server_scopes")]
        if not {*scopes} <= {*SCOPES, *server_scopes}:
            allowed_scopes = ", ".join([*SCOPES, *server_scopes])
            message = f"must be among {allowed_scopes}: register other scopes with their resource server first"
            raise ValidationError(details={"scopes": [message]})


def refuse_unknown_agent(transaction: Transaction, agent_id: UUID | None) -> None:
    """Raise an error for the member ``agentId`` if the organization has no such agent. Accept ``None``."""
    if agent_id is not None and not transaction.fetch("agents/get_agent", agent_id=agent_id):
        raise ValidationError(details={"agentId": ["must be an agent of the organization"]})


def resolve_agent_ids(member: str, ids_or_names: list[str], read_together: Callable[..., list[Rows]]) -> list[str]:
    """Return the agent's id for each typed name or id. A typed id is returned even if no agent has it.

    :param member: the member of the request that the error names.
    :param read_together: runs several calls for the organization in one round trip, and returns the rows of each.
    :raises ValidationError: a string is neither an id nor the name of an agent.
    """
    typed_names = [id_or_name for id_or_name in ids_or_names if not IS_ID.fullmatch(id_or_name)]
    ids_by_name = _read_agent_ids(typed_names, read_together)
    unknown_names = [typed_name for typed_name in typed_names if typed_name not in ids_by_name]
    if unknown_names:
        message = f"must exist in the organization by name or ID: {unknown_names[0]!r} does not"
        raise ValidationError(details={member: [message]})
    return [ids_by_name.get(id_or_name, id_or_name) for id_or_name in ids_or_names]


def _read_agent_ids(names: list[str], read_together: Callable[..., list[Rows]]) -> dict[str, str]:
    # Lone surrogates and NUL are replaced, because PostgreSQL refuses them in a string.
    storable_names = [name.encode(errors="replace").decode().replace("\0", "\ufffd") for name in names]
    agent_calls = [Call("agents/agents_named", {"name": name, "is_deleted": False}) for name in storable_names]
    agent_row_lists = read_together(*agent_calls) if agent_calls else []
    return {name: str(agents[0].agent_id) for name, agents in zip(names, agent_row_lists, strict=True) if agents}


class ProvisionedSchema(ma.Schema):
    """The subject of another issuer for which a provisioning rule has created an agent."""

    rule = ma.fields.String(required=True, metadata={"description": "The name of the provisioning rule"})
    issuer = ma.fields.String(required=True)
    subject = ma.fields.String(required=True)
    expiresAfterDays = ma.fields.Integer(
        required=True, allow_none=True, metadata={"description": "Maximum days without a token request"}
    )


class AgentFields(ma.Schema):
    """An agent. Its ``agentId`` is the ``client_id`` of OAuth."""

    agentId = ma.fields.UUID(attribute="agent_id", dump_only=True)
    name = schemas.Text(1, schemas.MAX_NAME, required=True)
    description = schemas.Text(0, MAX_DESCRIPTION, multiline=True, load_default="", description="The agent's purpose")
    scopes = schemas.ScopeList(
        load_default=lambda: list(DEFAULT_SCOPES),
        description="What the agent's tokens may do: scopes of this API and of the organization's resource servers",
    )
    status = schemas.Choice(STATUSES)
    dpopBoundAccessTokens = schemas.Flag(
        attribute="dpop_bound_access_tokens",
        load_default=False,
        words="only tokens bound to a key (DPoP)",
        option="--dpop",
        description="Whether all tokens of the agent are bound to a key of its client, which sends proofs (RFC 9449)",
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    updatedAt = schemas.Instant(attribute="updated_at", dump_only=True)
    owner = schemas.Text(0, schemas.MAX_OWNER, load_default="", description=OWNER, is_listed=True)
    expectedReplicas = schemas.Number(
        MIN_REPLICAS,
        MAX_REPLICAS,
        load_default=None,
        attribute="expected_replicas",
        description="Number of running instances of the agent, which findings take into account",
        nothing="not declared",
    )
    suspendsAt = schemas.Instant(
        attribute="suspends_at",
        dump_only=True,
        # The row of a new or changed agent lacks suspends_at, because no suspension of the agent is announced.
        dump_default=None,
        allow_none=True,
        metadata={"description": "Time of the announced suspension, if the agent is dormant; null: no suspension"},
    )
    provisioned = ma.fields.Nested(
        ProvisionedSchema,
        dump_only=True,
        allow_none=True,
        metadata={"description": "The subject for which a provisioning rule created the agent, or null"},
    )
    redirectUris = schemas.Items(
        schemas.Exact(MAX_REDIRECT_URI, REDIRECT_URI, "must be an https URL, http on this computer, or scheme:/…"),
        attribute="redirect_uris",
        load_default=list,
        words="redirect URIs",
        option="--redirect-uri",
        metavar="URI",
        validate=schemas.list_rules(MAX_REDIRECT_URIS, "a redirect URI"),
        metadata={"uniqueItems": True},
        description="Addresses to which people's browsers may take authorization codes for the agent",
    )
    tokensNotBefore = schemas.Instant(
        attribute="tokens_not_before",
        dump_only=True,
        allow_none=True,
        metadata={"description": "Tokens that were issued earlier are refused; null: no tokens were ended"},
    )
    clientUri = ma.fields.String(
        attribute="client_uri",
        dump_only=True,
        allow_none=True,
        metadata={"description": "The address of an app's client ID metadata document, or null for a registered agent"},
    )


NewAgentSchema = schemas.new_schema(AgentFields, "status")
AgentChangeSchema = schemas.change_schema(AgentFields)
AgentSchema = schemas.returned_schema(AgentFields)

_CHANGEABLE = AgentChangeSchema()

AGENTS = ObjectKind("agent", blueprint, AgentSchema, _CHANGEABLE.fields, delete_statement="agents/delete_agent")
represent, remove_agent = AGENTS.represent, AGENTS.remove


class ListArguments(ma.Schema):
    limit = schemas.WholeNumber(1, 100, load_default=50)
    cursor = ma.fields.String(load_default=None, metadata={"description": "`nextCursor` of the previous page"})
    name = schemas.Text(1, schemas.MAX_NAME, load_default=None, description="Only the agent with exactly this name")
    owner = schemas.Text(
        0,
        schemas.MAX_OWNER,
        load_default=None,
        description="Only agents with exactly this owner; empty: only agents without an owner",
    )


class AgentListSchema(ma.Schema):
    data = ma.fields.List(ma.fields.Nested(AgentSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


def add_agent(
    transaction: Transaction,
    *,
    name: str,
    scopes: list[str],
    max_agents: int,
    provisioned: dict[str, Any] | None = None,
    provisioned_selector: bytes | None = None,
    agent_id: UUID | None = None,
    client_uri: str | None = None,
    **members: Any,
) -> Any:
    """Register an agent, and return its row.

    :param max_agents: maximum number of agents of the organization, without deleted agents.
    :param provisioned: the members of :class:`ProvisionedSchema` if a provisioning rule creates the agent.
    :param provisioned_selector: the digest of the provisioned subject, which no other agent may have.
    :param agent_id: the agent's id; ``None`` for a random id.
    :param client_uri: the URL of the client ID metadata document, if the agent is an app with a document.
    :param members: other members that :class:`NewAgentSchema` loads. Default: the defaults of the schema.
    :raises ValidationError: a scope is unknown.
    :raises Conflict: another agent has the name, or the organization has the maximum number of agents.
    """
    transaction.fetch("organizations/lock_organization")
    refuse_unknown_scopes(transaction, scopes)
    if transaction.fetch("agents/count_agents")[0].count >= max_agents:
        raise Conflict(f"The organization has {max_agents} agents, which is the maximum; delete one first.")
    default_members: dict[str, Any] = NewAgentSchema(exclude=["name", "scopes"]).load({})
    try:
        [agent_row] = transaction.fetch(
            "agents/add_agent",
            **default_members | members,
            agent_id=agent_id or uuid.uuid4(),
            client_uri=client_uri,
            name=name,
            scopes=scopes,
            provisioned=None if provisioned is None else json.dumps(provisioned),
            provisioned_selector=provisioned_selector,
        )
    except psycopg.errors.UniqueViolation:
        raise AGENTS.name_conflict() from None
    audit_details = (provisioned or {}) | ({"clientUri": client_uri} if client_uri else {})
    AGENTS.record(transaction, after=agent_row, **audit_details)
    return agent_row


def update_agent(
    transaction: Transaction, agent_id: UUID, change: dict[str, Any], *, reason: dict[str, Any] | None = None
) -> Any:
    """Change an agent, and return its row.

    :param change: members that :class:`AgentChangeSchema` loads; missing members keep their values.
    :param reason: further members of the audit event.
    :raises NotFound: the organization has no such agent.
    :raises ValidationError: a scope is unknown.
    :raises Conflict: another agent of the organization has the name.
    """
    refuse_unknown_scopes(transaction, change.get("scopes", []))
    earlier_row = require_row(transaction.fetch("agents/lock_agent", agent_id=agent_id))
    new_columns = schemas.merge_changed_columns(_CHANGEABLE, earlier_row, change)
    try:
        [agent_row] = transaction.fetch("agents/change_agent", agent_id=agent_id, **new_columns)
    except psycopg.errors.UniqueViolation:
        raise AGENTS.name_conflict() from None
    # Any change of the agent postpones its suspension as dormant, so the announced time is deleted.
    transaction.fetch("agents/withdraw_suspension", agent_id=agent_id)
    AGENTS.record(transaction, before=earlier_row, after=agent_row, **reason or {})
    return agent_row


def end_tokens(transaction: Transaction, agent_id: UUID, clock: Callable[[], datetime]) -> None:
    """End all tokens and dashboard sessions of an agent.

    The transaction must not have locked a row before, because this function takes the organization's
    issuance lock (:func:`agentidp.registry.quotas.lock`).

    :param clock: returns the current time. It is called after the lock, while no token of the organization is issued.
    :raises NotFound: the organization has no such agent.
    """
    quotas.lock(transaction)
    earlier_row = require_row(transaction.fetch("agents/lock_agent", agent_id=agent_id))
    # Tokens that were issued in the current second end too, because "iat" is in whole seconds.
    tokens_not_before = clock().replace(microsecond=0) + timedelta(seconds=1)
    [changed_row] = transaction.fetch("agents/end_tokens", agent_id=agent_id, not_before=tokens_not_before)
    earlier_settings = {"tokensNotBefore": schemas.timestamp(earlier_row.tokens_not_before)}
    new_settings = {"tokensNotBefore": schemas.timestamp(changed_row.tokens_not_before)}
    audit.record(transaction, "agent.tokens_ended", agent_id, before=earlier_settings, after=new_settings)


AGENTS.add_create_route(
    NewAgentSchema,
    lambda transaction, settings, members: add_agent(transaction, **members, max_agents=settings.max_agents),
    "Register an agent.",
)


@blueprint.route("/api/v1/agents")
@bearer("agents:read")
@blueprint.tool("agents")
@blueprint.arguments(ListArguments, location="query")
@blueprint.response(200, AgentListSchema)
def list_agents(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the agents, oldest first. New agents come last, so pages do not shift."""
    limit = arguments["limit"]
    after_at, after_id = decode_cursor(arguments["cursor"])
    filters = {"name": arguments["name"], "owner": arguments["owner"]}
    agent_rows = caller.read("agents/list_agents", after_at=after_at, after_id=after_id, limit=limit + 1, **filters)
    agent_page = agent_rows[:limit]
    next_cursor = encode_cursor(agent_page[-1].created_at, agent_page[-1].agent_id) if len(agent_rows) > limit else None
    return json_response({"data": [represent(agent_row) for agent_row in agent_page], "nextCursor": next_cursor})


AGENTS.add_get_route("agents/get_agent", "Return one agent.")
AGENTS.add_change_route(
    AgentChangeSchema,
    lambda transaction, _, agent_id, change: update_agent(transaction, agent_id, change),
    "Change an agent. A suspended agent gets no tokens, and its existing tokens are refused at once.",
    has_conflicts=True,
)
AGENTS.add_delete_route(
    "Delete an agent and revoke its credentials. Its tokens are refused at once. Its usage stays in the counts."
)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/tokens", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def end_agent_tokens(caller: Caller, agent_id: UUID) -> Response:
    """End all tokens issued to an agent before now. The tokens are refused at once. The agent can get new tokens."""
    # The caller is admitted in a separate transaction, because the admission locks a row, and end_tokens() must lock
    # the organization's quotas before any other row.
    caller.admit()
    with caller.transaction() as transaction:
        end_tokens(transaction, agent_id, caller.clock)
    return Response(status=204)
