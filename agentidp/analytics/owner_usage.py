"""``GET /api/v1/analytics/owners``: tokens per owner of the agents that got the tokens."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Call, Rows
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import required

blueprint = Blueprint("owner-usage", __name__, description="Tokens by owner")


class OwnerTokensSchema(ma.Schema):
    """An owner whose agents got at least one token, and the number of their tokens."""

    owner = ma.fields.String(**required("Null for all agents without an owner. This item is the last", nullable=True))
    agents = ma.fields.Integer(
        **required("The number of the owner's agents with tokens"), validate=ma.validate.Range(1)
    )
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


OwnerUsageSchema = period_schema("OwnerUsage", OwnerTokensSchema)


@usage_route(blueprint, "/owners", OwnerUsageSchema, PeriodArguments(default_days=None), tool="owners")
def owner_usage(caller: Caller, period: Period) -> Response:
    """Tokens per owner, in the current month (UTC) so far by default. A deleted agent counts for its last owner."""
    [owner_rows] = caller.read_together(build_owner_usage_call(period))
    return respond(caller, period, represent_owners(owner_rows), OwnerTokensSchema)


def build_owner_usage_call(period: Period) -> Call:
    """Return the statement that reads the number of tokens per owner."""
    return Call("analytics/owner_usage", period.bounds)


def represent_owners(rows: Rows) -> list[dict[str, Any]]:
    """Return the owners and the number of tokens per owner as JSON of the API."""
    return [{"owner": row.owner or None, "agents": row.agents, "tokens": row.tokens} for row in rows]
