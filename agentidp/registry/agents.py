"""``/api/v1/agents``: the organization's agents."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.db.organization import Transaction
from agentidp.http.errors import Conflict, ValidationError, existing
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.http.schemas import (
    MAX_NAME,
    MAX_OWNER,
    ChangeSchema,
    Flag,
    Number,
    ScopeList,
    Text,
    WholeNumber,
    timestamp,
)
from agentidp.registry.cursor import decode_cursor, encode_cursor
from agentidp.scopes import DEFAULT_SCOPES, SCOPES

blueprint = Blueprint("agents", __name__, description="Agents of the organization")

STATUSES = ("active", "suspended")
"""That can be set. A deleted agent is no longer in the registry."""

OWNER = "Whom to ask about it: a person, a team or an address"
EXPECTED_REPLICAS = "How many instances of it run, which findings take into account; null if that is not declared"

MIN_REPLICAS, MAX_REPLICAS = 1, 10_000
"""Instances of an agent that can be declared."""

MAX_DESCRIPTION = 1000
"""Characters."""


class ExpectedReplicas(Number):
    """How many instances of an agent run, or ``null``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            MIN_REPLICAS, MAX_REPLICAS, allow_none=True, metadata={"description": EXPECTED_REPLICAS}, **kwargs
        )


def refuse_unknown_scopes(opened: Transaction, scopes: list[str]) -> None:
    """An agent can have our own scopes and those of its organization's resource servers.

    :raises ValidationError: naming ``scopes``.
    """
    foreign = [scope for scope in scopes if scope not in SCOPES]
    if foreign:
        rows = opened.fetch("oauth/resource_server_scopes")
        known = [*SCOPES, *(row.scope for row in rows)]
        if not set(foreign) <= set(known):
            rule = f"must be among {', '.join(known)}: register other scopes with their resource server first"
            raise ValidationError(details={"scopes": [rule]})


class _AgentFields(ma.Schema):
    """What can be said of an agent."""

    name = Text(1, MAX_NAME, required=True)
    description = Text(0, MAX_DESCRIPTION, multiline=True, load_default="")
    owner = Text(0, MAX_OWNER, load_default="", description=OWNER)
    scopes = ScopeList(load_default=lambda: list(DEFAULT_SCOPES))
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES, error="must be one of " + ", ".join(STATUSES)))
    dpopBoundAccessTokens = Flag(attribute="dpop_bound_access_tokens", load_default=False)
    expectedReplicas = ExpectedReplicas(attribute="expected_replicas", load_default=None)


class NewAgentSchema(_AgentFields):
    """The body that registers an agent."""

    class Meta:
        exclude = ("status",)


class AgentChangeSchema(ChangeSchema, _AgentFields):
    """The body that changes an agent. Missing members stay as they are."""


_CHANGEABLE = {name: field.attribute or name for name, field in AgentChangeSchema().fields.items()}
"""Member -> column, and parameter of ``sql/agents/change_agent.sql``. The audit trail records these members."""

_FIRST = ("name", "description", "scopes", "status", "dpopBoundAccessTokens")
LAST = {member: column for member, column in _CHANGEABLE.items() if member not in _FIRST}
"""What was added later, which :func:`represent` has last."""


TEXTS = {
    name: field
    for name, field in NewAgentSchema().fields.items()
    if isinstance(field, Text) and name not in ("name", "description")
}
"""Further lines of text, which may be empty: the commands that create and change an agent have an option for each, its
form on the dashboard a field and its page a line.
"""


class ProvisionedSchema(ma.Schema):
    """For whom a provisioning rule has created an agent."""

    rule = ma.fields.String(required=True, metadata={"description": "The name of the provisioning rule"})
    issuer = ma.fields.String(required=True)
    subject = ma.fields.String(required=True)
    expiresAfterDays = ma.fields.Integer(
        required=True, allow_none=True, metadata={"description": "Days without a token request, then it is deleted"}
    )


class AgentSchema(ma.Schema):
    """An agent. Its ``agentId`` is the ``client_id`` of OAuth."""

    agentId = ma.fields.UUID(required=True)
    name = ma.fields.String(required=True)
    description = ma.fields.String(required=True)
    owner = ma.fields.String(required=True, metadata={"description": OWNER})
    scopes = ma.fields.List(ma.fields.String(), required=True)
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(STATUSES))
    dpopBoundAccessTokens = ma.fields.Boolean(
        required=True, metadata={"description": "Whether the agent gets only tokens bound to a key (RFC 9449)"}
    )
    expectedReplicas = ExpectedReplicas(required=True)
    createdAt = ma.fields.AwareDateTime(required=True)
    updatedAt = ma.fields.AwareDateTime(required=True)
    suspendsAt = ma.fields.AwareDateTime(
        required=True,
        allow_none=True,
        metadata={
            "description": "When it will be suspended because it is dormant, as was announced; null: it will not"
        },
    )
    provisioned = ma.fields.Nested(
        ProvisionedSchema,
        required=True,
        allow_none=True,
        metadata={"description": "For whom a provisioning rule has created it; null for any other agent"},
    )


class ListArguments(ma.Schema):
    """A page of a list."""

    limit = WholeNumber(1, 100, load_default=50)
    cursor = ma.fields.String(load_default=None, metadata={"description": "`nextCursor` of the previous page"})


class AgentListSchema(ma.Schema):
    """A page, oldest agents first; ``nextCursor`` is null on the last."""

    data = ma.fields.List(ma.fields.Nested(AgentSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


@blueprint.route("/api/v1/agents", methods=["POST"])
@bearer("agents:write")
@blueprint.arguments(NewAgentSchema)
@blueprint.response(201, AgentSchema, headers={"Location": "Location"})
@blueprint.alt_response(409, "CONFLICT")
def create_agent(caller: Caller, new: dict[str, Any]) -> Response:
    """Register an agent."""
    with caller.transaction() as opened:
        agent = add_agent(opened, **new, most=caller.settings.max_agents)
    body = represent(agent)
    return json_response(body, 201, {"Location": f"/api/v1/agents/{body['agentId']}"})


@blueprint.route("/api/v1/agents")
@bearer("agents:read")
@blueprint.arguments(ListArguments, location="query")
@blueprint.response(200, AgentListSchema)
def list_agents(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the agents, oldest first. New agents come last, so pages do not shift."""
    limit = arguments["limit"]
    after_at, after_id = decode_cursor(arguments["cursor"])
    rows = caller.read("agents/list_agents", after_at=after_at, after_id=after_id, limit=limit + 1)
    page = rows[:limit]
    return json_response(
        {
            "data": [represent(row, row.suspends_at) for row in page],
            "nextCursor": encode_cursor(page[-1].created_at, page[-1].agent_id) if len(rows) > limit else None,
        }
    )


@blueprint.route("/api/v1/agents/<uuid:agent_id>")
@bearer("agents:read")
@blueprint.response(200, AgentSchema)
def get_agent(caller: Caller, agent_id: UUID) -> Response:
    """Return one agent."""
    agent = existing(caller.read("agents/get_agent", agent_id=agent_id))
    return json_response(represent(agent, agent.suspends_at))


@blueprint.route("/api/v1/agents/<uuid:agent_id>", methods=["PATCH"])
@bearer("agents:write")
@blueprint.arguments(AgentChangeSchema)
@blueprint.response(200, AgentSchema)
@blueprint.alt_response(409, "CONFLICT")
def change_agent(caller: Caller, change: dict[str, Any], agent_id: UUID) -> Response:
    """Change an agent. A suspended agent gets no tokens, and its existing tokens are refused at once."""
    with caller.transaction() as opened:
        agent = update_agent(opened, agent_id, change)
    return json_response(represent(agent))


@blueprint.route("/api/v1/agents/<uuid:agent_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_agent(caller: Caller, agent_id: UUID) -> Response:
    """Delete an agent and revoke its credentials. Its tokens are refused at once. Its usage stays in the counts."""
    with caller.transaction() as opened:
        remove_agent(opened, agent_id)
    return Response(status=204)


def add_agent(
    opened: Transaction,
    *,
    name: str,
    scopes: list[str],
    most: int,
    provisioned: dict[str, Any] | None = None,
    provisioned_selector: bytes | None = None,
    **others: Any,
) -> Any:
    """Register an agent and its client.

    :param most: agents that the organization may have, deleted ones not counted. What other transactions create at the
        same time is not seen.
    :param provisioned: for whom a provisioning rule creates it, in the terms of the API.
    :param provisioned_selector: of the same subject: no two agents of the organization, deleted or not, have the same.
    :param others: what else :class:`NewAgentSchema` loads. Default: that of the schema.
    :returns: the agent's row.
    :raises ValidationError: a scope is neither ours nor one of the organization's resource servers.
    :raises Conflict: another agent of the organization has the name, or it has as many as it may.
    """
    refuse_unknown_scopes(opened, scopes)
    [found] = opened.fetch("agents/count_agents")
    if found.count >= most:
        raise Conflict(f"The organization has {most} agents, which is the maximum; delete one first.")
    columns: dict[str, Any] = NewAgentSchema(exclude=["name", "scopes"]).load({})
    if unknown := others.keys() - columns.keys():
        raise TypeError(f"an agent has no {' and '.join(unknown)}")
    columns |= {"agent_id": uuid.uuid4(), "name": name, "scopes": scopes, **others}
    columns |= {
        "provisioned": None if provisioned is None else json.dumps(provisioned),
        "provisioned_selector": provisioned_selector,
    }
    try:
        [agent] = opened.fetch("agents/add_agent", **columns)
    except psycopg.errors.UniqueViolation:
        raise _name_taken() from None
    audit.record(opened, "agent.created", agent.agent_id, after=_recorded(agent) | (provisioned or {}))
    return agent


def update_agent(
    opened: Transaction, agent_id: UUID, change: dict[str, Any], *, reason: dict[str, Any] | None = None
) -> Any:
    """Change an agent.

    :param change: what :class:`AgentChangeSchema` loads; what is left out stays.
    :param reason: what the audit trail records beside it.
    :returns: the agent's row.
    :raises NotFound: no such agent.
    :raises ValidationError: a scope is neither ours nor one of the organization's resource servers.
    :raises Conflict: another agent of the organization has the name.
    """
    values: dict[str, Any] = dict.fromkeys(_CHANGEABLE.values()) | change
    if "expected_replicas" in change:
        # For the statement, null leaves a column as it is.
        values["expected_replicas"] = change["expected_replicas"] or 0
    refuse_unknown_scopes(opened, change.get("scopes", []))
    before = existing(opened.fetch("agents/lock_agent", agent_id=agent_id))
    try:
        [agent] = opened.fetch("agents/change_agent", agent_id=agent_id, **values)
    except psycopg.errors.UniqueViolation:
        raise _name_taken() from None
    # It has its whole time again.
    opened.fetch("agents/withdraw_suspension", agent_id=agent_id)
    after = _recorded(agent) | (reason or {})
    audit.record(opened, "agent.changed", agent_id, before=_recorded(before), after=after)
    return agent


def remove_agent(opened: Transaction, agent_id: UUID, *, reason: dict[str, Any] | None = None) -> None:
    """Delete an agent and revoke its credentials.

    :param reason: what the audit trail records beside what the agent was.
    :raises NotFound: no such agent.
    """
    agent = existing(opened.fetch("agents/delete_agent", agent_id=agent_id))
    audit.record(opened, "agent.deleted", agent_id, before=_recorded(agent) | (reason or {}))


def _name_taken() -> Conflict:
    return Conflict("Another agent has this name.", details={"name": ["is taken"]})


def _recorded(agent: Any) -> dict[str, Any]:
    """What the audit trail records of an agent."""
    body = represent(agent)
    return {name: body[name] for name in _CHANGEABLE}


def represent(agent: Any, suspends_at: datetime | None = None) -> dict[str, Any]:
    """An agent's row as our JSON. New members come last, so that what commands print stays in its columns.

    :param suspends_at: when it will be suspended because it is dormant; nothing is announced of one that has just been
        created or changed.
    """
    return {
        "agentId": str(agent.agent_id),
        **{member: getattr(agent, _CHANGEABLE[member]) for member in _FIRST},
        "createdAt": timestamp(agent.created_at),
        "updatedAt": timestamp(agent.updated_at),
        **{member: getattr(agent, column) for member, column in LAST.items()},
        "suspendsAt": timestamp(suspends_at),
        "provisioned": agent.provisioned,
    }
