"""``GET /api/v1/analytics/owners``: tokens per owner of the agents that got the tokens."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments, PeriodSchema, read_period
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call, Rows
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import required

blueprint = Blueprint("owner-usage", __name__, description="Tokens by owner")


class OwnerUsageArguments(PeriodArguments):
    default_days = None


class OwnerTokensSchema(ma.Schema):
    """An owner whose agents got at least one token, and the number of their tokens."""

    owner = ma.fields.String(**required("Null for all agents without an owner. This item is the last", nullable=True))
    agents = ma.fields.Integer(
        **required("The number of the owner's agents with tokens"), validate=ma.validate.Range(1)
    )
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class OwnerUsageSchema(PeriodSchema):
    """The owners of agents, most tokens first. The sum of all items is the number of tokens of the organization."""

    data = ma.fields.List(ma.fields.Nested(OwnerTokensSchema), required=True)


@blueprint.route("/api/v1/analytics/owners")
@bearer("analytics:read")
@blueprint.tool("owners")
@blueprint.arguments(OwnerUsageArguments(), location="query")
@blueprint.data_response(OwnerUsageSchema)
def owner_usage(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens per owner, in the current month (UTC) so far by default. A deleted agent counts for its last owner."""
    period = read_period(arguments, caller.at)
    [owner_rows] = caller.read_together(build_owner_usage_call(period))
    return data_response(
        {"tenantId": caller.organization_id, **period.described, "data": represent(owner_rows)}, OwnerTokensSchema
    )


def build_owner_usage_call(period: Period) -> Call:
    """Return the call that reads the number of tokens per owner. :func:`represent` takes its rows."""
    return Call("analytics/owner_usage", period.bounds)


def represent(rows: Rows) -> list[dict[str, Any]]:
    """Return the owners and their numbers of tokens as JSON of the API."""
    return [{"owner": row.owner or None, "agents": row.agents, "tokens": row.tokens} for row in rows]
