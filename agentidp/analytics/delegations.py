"""``GET /api/v1/analytics/delegations``: tokens for a subject, per acting agent, subject and resource."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import (
    TOKENS,
    TOKENS_BY_DAY,
    AttributionArguments,
    add_tokens,
    build_delegations_call,
)
from agentidp.analytics.period import Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import required

blueprint = Blueprint("delegations", __name__, description="Tokens from an exchange")


class DelegationSchema(ma.Schema):
    """Tokens with which an agent acted for a subject. If the subject is a person, only the person's issuer is named."""

    agentId = ma.fields.UUID(**required("The agent that acted"))
    agentName = ma.fields.String(required=True)
    subjectAgentId = ma.fields.UUID(
        **required("The agent for which the agent acted; null for a subject of another issuer", nullable=True)
    )
    subjectAgentName = ma.fields.String(**required(nullable=True))
    issuer = ma.fields.String(
        **required("The issuer of the subjects for which the agent acted; null for an agent", nullable=True)
    )
    resource = ma.fields.String(required=True)
    tokens = TOKENS
    tokensByDay = TOKENS_BY_DAY


DelegationsSchema = period_schema("Delegations", DelegationSchema)


@usage_route(blueprint, "/delegations", DelegationsSchema, AttributionArguments(), tool="delegations")
@blueprint.alt_response(404, "NOT_FOUND")
def delegations(caller: Caller, period: Period, agent: UUID | None) -> Response:
    """Tokens with which agents act for other agents or for people, per acting agent, subject and resource.

    The subject is an agent, or all people of an issuer together. The tokens are issued by token exchange or by
    authorization code. The numbers are exact, because a token is counted in the transaction that issues it.
    """
    if agent is None:
        [delegation_rows] = caller.read_together(build_delegations_call(period, None))
    else:
        delegation_rows, agent_rows = caller.read_together(
            build_delegations_call(period, agent), Call("audit/agent_names", {"agent_ids": [agent]})
        )
        require_row(agent_rows)
    return respond(caller, period, represent_delegations(delegation_rows, period), DelegationSchema)


def represent_delegations(rows: Rows, period: Period) -> list[dict[str, Any]]:
    """Return the acting agents and their subjects as JSON of the API, most tokens first.

    :param rows: the rows of :func:`agentidp.analytics.attribution.build_delegations_call`.
    """
    delegation_items = []
    for row in rows:
        tokens_by_day = [0] * period.days
        add_tokens(tokens_by_day, row)
        delegation_items.append(
            {
                "agentId": str(row.agent_id),
                "agentName": row.agent_name,
                "subjectAgentId": None if row.subject_agent_id is None else str(row.subject_agent_id),
                "subjectAgentName": row.subject_agent_name,
                "issuer": row.issuer or None,
                "resource": row.resource,
                "tokens": sum(tokens_by_day),
                "tokensByDay": tokens_by_day,
            }
        )
    tie_breakers = ("agentId", "subjectAgentId", "issuer", "resource")
    return sorted(delegation_items, key=lambda item: (-item["tokens"], *(item[name] or "" for name in tie_breakers)))
