"""``GET /api/v1/analytics/resources`` and ``…/resources/days``: tokens per resource, and the agents that got them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import (
    RESOURCE_SERVERS,
    TOKENS,
    TOKENS_BY_DAY,
    Attribution,
    AttributionArguments,
    TokensOfDaySchema,
    add_tokens,
    read_attribution,
    respond_by_day,
)
from agentidp.analytics.period import Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Rows
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import take_blocks
from agentidp.http.schemas import required

blueprint = Blueprint("resource-usage", __name__, description="Tokens by resource")


class AgentOfResourceSchema(ma.Schema):
    """An agent that got tokens for a resource, and the number of these tokens."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ResourceUsageItemSchema(ma.Schema):
    """A resource with its tokens: our own API, a resource server, or a deleted resource server."""

    resource = ma.fields.String(**required("Null for tokens that are not attributed", nullable=True))
    resourceServerId = ma.fields.UUID(**required("Null if there is no such resource server now", nullable=True))
    name = ma.fields.String(**required("The name of the resource server", nullable=True))
    tokens = TOKENS
    tokensByDay = TOKENS_BY_DAY
    agents = ma.fields.List(ma.fields.Nested(AgentOfResourceSchema), **required("Most tokens first"))


class ResourceTokensOfDaySchema(TokensOfDaySchema):
    """The number of tokens for a resource on a UTC day."""

    resource = ma.fields.String(**required("Null for tokens that are not attributed", nullable=True))
    resourceServerId = ma.fields.UUID(**required(nullable=True))
    name = ma.fields.String(**required(nullable=True))


ResourceUsageSchema = period_schema("ResourceUsage", ResourceUsageItemSchema)
ResourceTokensByDaySchema = period_schema("ResourceTokensByDay", ResourceTokensOfDaySchema)


@dataclass
class ResourceUsage:
    """A resource and its tokens in a period."""

    resource: str | None  # the identifier; empty: our own API; None: tokens that are not attributed
    server: Any  # the row of the resource server, or None
    by_day: list[int]
    by_agent: Counter[tuple[UUID, str]] = field(default_factory=Counter)  # by the agent's ID and name

    @property
    def tokens(self) -> int:
        """The number of the resource's tokens on all days of the period."""
        return sum(self.by_day)

    @property
    def agents(self) -> list[tuple[UUID, str, int]]:
        """The ID, name and number of tokens of each agent that got tokens for the resource, most tokens first."""
        agents = [(agent_id, agent_name, token_count) for (agent_id, agent_name), token_count in self.by_agent.items()]
        return sorted(agents, key=lambda agent: (-agent[2], agent[0]))


@usage_route(blueprint, "/resources", ResourceUsageSchema, AttributionArguments(), tool="resources")
@blueprint.alt_response(404, "NOT_FOUND")
def resource_usage(caller: Caller, period: Period, agent: UUID | None) -> Response:
    """Tokens per resource, with the tokens per UTC day and the agents that got the tokens."""
    attribution, [server_rows] = read_attribution(caller, period, agent, RESOURCE_SERVERS)
    represent_usage = partial(represent_resource, own_resource=caller.settings.resource)
    return respond(
        caller, period, list_used_resources(attribution, server_rows), ResourceUsageItemSchema, represent_usage
    )


@usage_route(blueprint, "/resources/days", ResourceTokensByDaySchema, AttributionArguments())
@blueprint.alt_response(404, "NOT_FOUND")
def resource_tokens_by_day(caller: Caller, period: Period, agent: UUID | None) -> Response:
    """Tokens per resource and UTC day. Days without tokens have no item."""
    attribution, [server_rows] = read_attribution(caller, period, agent, RESOURCE_SERVERS)
    resource_usages = list_used_resources(attribution, server_rows)
    return respond_by_day(caller, period, resource_usages, ResourceTokensOfDaySchema, represent_resource)


def list_used_resources(attribution: Attribution, server_rows: Rows) -> list[ResourceUsage]:
    """Return our own API, the resource servers, and other resources with tokens, most tokens first.

    :param server_rows: rows of ``oauth/list_resource_servers``.
    """
    day_count = attribution.period.days
    usages_by_resource = {
        server.resource: ResourceUsage(server.resource, server, [0] * day_count) for server in server_rows
    }
    usages_by_resource[""] = ResourceUsage("", None, [0] * day_count)
    for row in chain.from_iterable(take_blocks(attribution.rows)):
        usage = usages_by_resource.setdefault(row.resource, ResourceUsage(row.resource, None, [0] * day_count))
        add_tokens(usage.by_day, row)
        usage.by_agent[row.agent_id, attribution.names_by_id[row.agent_id]] += sum(row.tokens)
    resource_usages = [*usages_by_resource.values()]
    if any(attribution.not_attributed):
        resource_usages.append(ResourceUsage(None, None, attribution.not_attributed))
    return sorted(resource_usages, key=lambda usage: (-usage.tokens, usage.resource is None, usage.resource or ""))


def represent_resource(usage: ResourceUsage, own_resource: str) -> dict[str, Any]:
    """Return a resource and its tokens as JSON of the API."""
    return {
        "resource": own_resource if usage.resource == "" else usage.resource,
        "resourceServerId": None if usage.server is None else str(usage.server.resource_server_id),
        "name": None if usage.server is None else usage.server.name,
        "tokens": usage.tokens,
        "tokensByDay": usage.by_day,
        "agents": [
            {"agentId": str(agent_id), "agentName": agent_name, "tokens": token_count}
            for agent_id, agent_name, token_count in usage.agents
        ],
    }
