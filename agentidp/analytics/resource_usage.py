"""``GET /api/v1/analytics/resources``: tokens per resource, and the agents that got the tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics import attribution
from agentidp.analytics.attribution import Attribution, AttributionArguments, add, read_attribution
from agentidp.analytics.period import PeriodSchema, requested_period
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call, Rows
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response, take_blocks

blueprint = Blueprint("resource-usage", __name__, description="Tokens by resource")

RESOURCE_SERVERS = Call("oauth/list_resource_servers", {})


class AgentOfResourceSchema(ma.Schema):
    """An agent that got tokens for a resource."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ResourceUsageItemSchema(ma.Schema):
    """A resource: this server's own API, a resource server, or a deleted resource server."""

    resource = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Null for tokens that are not attributed"}
    )
    resourceServerId = ma.fields.UUID(
        required=True, allow_none=True, metadata={"description": "Null if there is no such resource server now"}
    )
    name = ma.fields.String(required=True, allow_none=True, metadata={"description": "Of the resource server"})
    tokens = attribution.TOKENS
    tokensByDay = attribution.TOKENS_BY_DAY
    agents = ma.fields.List(
        ma.fields.Nested(AgentOfResourceSchema), required=True, metadata={"description": "Most tokens first"}
    )


class ResourceUsageSchema(PeriodSchema):
    """All resource servers and other resources with tokens. The sum of all items equals the number of all tokens."""

    data = ma.fields.List(ma.fields.Nested(ResourceUsageItemSchema), required=True)


@dataclass
class ResourceUsage:
    """A resource and its tokens in a period.

    :param resource: the resource identifier. Empty for our own API, None for tokens that are not attributed.
    :param server: the row of the resource server, or None if there is none.
    :param by_day: the number of tokens per day.
    :param by_agent: the number of tokens by the agent's ID and name.
    """

    resource: str | None
    server: Any
    by_day: list[int]
    by_agent: dict[tuple[UUID, str], int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Return the number of tokens on all days."""
        return sum(self.by_day)

    @property
    def agents(self) -> list[tuple[UUID, str, int]]:
        """Return the ID, the name and the number of tokens of each agent, most tokens first."""
        pairs = [(agent_id, name, tokens) for (agent_id, name), tokens in self.by_agent.items()]
        return sorted(pairs, key=lambda pair: (-pair[2], pair[0]))


@blueprint.route("/api/v1/analytics/resources")
@bearer("analytics:read")
@blueprint.tool("resources")
@blueprint.arguments(AttributionArguments(), location="query")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.data_response(ResourceUsageSchema)
def resource_usage(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens per resource, with the tokens per UTC day and the agents that got the tokens."""
    period = requested_period(arguments, caller.at)
    found, [servers] = read_attribution(caller, period, arguments["agent"], RESOURCE_SERVERS)
    body = {"tenantId": caller.organization_id, **period.described, "data": used_resources(found, servers)}
    return data_response(body, ResourceUsageItemSchema, partial(represent, own_resource=caller.settings.resource))


def used_resources(found: Attribution, servers: Rows) -> list[ResourceUsage]:
    """Return our own API, the resource servers, and other resources with tokens, most tokens first.

    :param servers: rows of ``oauth/list_resource_servers``.
    """
    days = found.period.days
    by_resource = {server.resource: ResourceUsage(server.resource, server, [0] * days) for server in servers}
    by_resource[""] = ResourceUsage("", None, [0] * days)
    for row in chain.from_iterable(take_blocks(found.rows)):
        used = by_resource.setdefault(row.resource, ResourceUsage(row.resource, None, [0] * days))
        add(used.by_day, row)
        agent = row.agent_id, found.names[row.agent_id]
        used.by_agent[agent] = used.by_agent.get(agent, 0) + sum(row.tokens)
    all_used = [*by_resource.values()]
    if any(found.not_attributed):
        all_used.append(ResourceUsage(None, None, found.not_attributed))
    # Among items with equal tokens, tokens that are not attributed are last.
    return sorted(all_used, key=lambda used: (-used.tokens, used.resource is None, used.resource or ""))


def represent(used: ResourceUsage, own_resource: str) -> dict[str, Any]:
    """Return a resource and its tokens as our JSON."""
    return {
        "resource": own_resource if used.resource == "" else used.resource,
        "resourceServerId": None if used.server is None else str(used.server.resource_server_id),
        "name": None if used.server is None else used.server.name,
        "tokens": used.tokens,
        "tokensByDay": used.by_day,
        "agents": [
            {"agentId": str(agent_id), "agentName": name, "tokens": tokens} for agent_id, name, tokens in used.agents
        ],
    }
