"""``GET /api/v1/analytics/delegations``: which agents act, for whom, and how many tokens they got for that."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics import attribution
from agentidp.analytics.attribution import AttributionArguments, add, delegations_in
from agentidp.analytics.period import Period, PeriodSchema, requested_period
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import existing
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response

blueprint = Blueprint("delegations", __name__, description="Tokens by exchange")


class DelegationSchema(ma.Schema):
    """An agent that acted, for whom, and for which resource. For whom is an agent or an issuer: no person is stored."""

    agentId = ma.fields.UUID(required=True, metadata={"description": "Of the agent that acted"})
    agentName = ma.fields.String(required=True)
    subjectAgentId = ma.fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "Of the agent that it acted for; null if that was a subject of another issuer"},
    )
    subjectAgentName = ma.fields.String(required=True, allow_none=True)
    issuer = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Whose subjects it acted for; null if that was an agent"},
    )
    resource = ma.fields.String(required=True)
    tokens = attribution.TOKENS
    tokensByDay = attribution.TOKENS_BY_DAY


class DelegationsSchema(PeriodSchema):
    """Who acted for whom, most tokens first. The tokens of all items together are those that were issued by exchange,
    or those of them that are about the agent that was asked for.
    """

    data = ma.fields.List(ma.fields.Nested(DelegationSchema), required=True)


@blueprint.route("/api/v1/analytics/delegations")
@bearer("analytics:read")
@blueprint.tool("delegations")
@blueprint.arguments(AttributionArguments(), location="query")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.data_response(DelegationsSchema)
def delegations(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens by exchange: which agent acted, for which agent or which other issuer's subjects, and for which resource.
    Exact, because such a token is counted so in the transaction that issues it.
    """
    period, agent_id = requested_period(arguments, caller.at), arguments["agent"]
    if agent_id is None:
        [rows] = caller.read_together(delegations_in(period, None))
    else:
        rows, known = caller.read_together(
            delegations_in(period, agent_id), Call("audit/agent_names", {"agent_ids": [agent_id]})
        )
        existing(known)
    return data_response(
        {"tenantId": caller.organization_id, **period.described, "data": represent(rows, period)}, DelegationSchema
    )


def represent(rows: Rows, period: Period) -> list[dict[str, Any]]:
    """Who acted for whom as our JSON, most tokens first.

    :param rows: of :func:`agentidp.analytics.attribution.delegations_in`.
    """
    found = []
    for row in rows:
        by_day = [0] * period.days
        add(by_day, row)
        found.append(
            {
                "agentId": str(row.agent_id),
                "agentName": row.agent_name,
                "subjectAgentId": None if row.subject_agent_id is None else str(row.subject_agent_id),
                "subjectAgentName": row.subject_agent_name,
                "issuer": row.issuer or None,
                "resource": row.resource,
                "tokens": sum(by_day),
                "tokensByDay": by_day,
            }
        )
    names = ("agentId", "subjectAgentId", "issuer", "resource")
    return sorted(found, key=lambda one: (-one["tokens"], *(one[name] or "" for name in names)))
