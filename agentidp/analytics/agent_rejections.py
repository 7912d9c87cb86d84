"""``GET /api/v1/analytics/agents/{agentId}/rejections``: why requests of an agent fail to authenticate, per UTC day."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import required, timestamp

blueprint = Blueprint("agent-rejections", __name__, description="Failed authentications of one agent")

_STEPS = {
    "wrong secret, wrong signature, unknown key": (
        "Give the agent the right secret or key. If the agent does not run in the network of the request, somebody "
        "else tries to authenticate as the agent."
    ),
    "wrong audience": (
        "Let the platform issue its token for the audience that the rule of trust names. An assertion that a key of "
        "the agent has signed needs the issuer of this server as its aud."
    ),
    "unreadable assertion": (
        "Send a signed JWT with an algorithm that is accepted, and without a line break at its end."
    ),
    "wrong jti, wrong times, assertion valid for too long, assertion used before": (
        "Let the agent make a new assertion with a new jti for each request, valid for at most an hour."
    ),
    "assertion expired, assertion not yet valid": (
        "Correct the clock of the agent's machine, and let the agent send a new assertion or token with each request."
    ),
    "revoked or expired key": "Give the agent the new key.",
    "no rule of trust": "Add a rule of trust for the issuer of the token to the agent, or correct the client_id.",
    "token matches no rule, revoked or expired rule": (
        "Run agentidp credential test, which compares the token with the rules of the agent and shows what differs."
    ),
    "too many rules for the token": "Let the token name its key by kid, and send the client_id of the agent.",
    "revoked credential, expired credential": "Give the agent the new secret.",
    "suspended agent, deleted agent, suspended organization": (
        "Stop the agent. If the agent should work, resume the agent or its organization."
    ),
    "token for another audience": (
        "The token is for a resource server, but the agent has sent it to AgentIdP's own API. Let the agent request a "
        "token without the parameter resource."
    ),
    "token expired, token not yet valid, revoked token": (
        "Let the agent request a new token. If new tokens fail too, correct the clock of the agent's machine."
    ),
    "token sent by the wrong scheme, token bound to another key, wrong DPoP proof, DPoP proof used before": (
        "Let the agent use DPoP with the scheme DPoP, the key of the token request, and a new proof for each request."
    ),
    "unreadable subject token, invalid subject token, subject token expired, subject token without subject": (
        "A caller of the agent sends a token that cannot be exchanged. A token of the type access_token must be from "
        "this server, and a token of another type from another issuer."
    ),
    "subject token of another organization, subject token for another": (
        "Let the subject request its token for a resource server that the agent runs. If no caller sent this token, "
        "somebody may be trying stolen tokens."
    ),
    "subject names another actor, subject token has actors, too many actors, wrong actor token": (
        "Run agentidp credential test, which compares the token with what an exchange accepts."
    ),
    "subject or actor ended, subject token revoked, audience ended, delegation rule deleted": (
        "An agent, token, audience or rule of the token's chain has ended. Let the subject send a new token."
    ),
    "no delegation rule": "Add the agent to a delegation rule for the issuer of the subject.",
    "ID-JAG of another client, ID-JAG of another organization, ID-JAG of another key, wrong members of the ID-JAG": (
        "The provider has made the ID-JAG for another client, organization or key. Register the client_id of the agent "
        "at the provider."
    ),
    "ID-JAG used before": (
        "Let the client get a new ID-JAG for each token. If the client already gets a new ID-JAG for each token, "
        "somebody else has the client's secret."
    ),
    "code or refresh token used before": (
        "The grant has ended, because its code or refresh token was sent twice, by a client that repeats requests or "
        "by a thief."
    ),
    "wrong grant type, wrong code verifier, wrong redirect URI, wrong resource, code or refresh token of another key": (
        "Correct the client's request for the grant's tokens. If the agent does not run in the network of the request, "
        "somebody may be trying stolen codes or refresh tokens."
    ),
}
NEXT_STEPS = {reason: step for reasons, step in _STEPS.items() for reason in reasons.split(", ")}
"""Advice for the owner of an agent, by the logged reason why a request of the agent failed to authenticate."""


class RejectionSchema(ma.Schema):
    """The number of failed authentications on a UTC day, for one reason and from one network."""

    date = ma.fields.Date(required=True)
    reason = ma.fields.String(required=True)
    network = ma.fields.String(**required("The /24 of an IPv4 address, the /48 of an IPv6 address, or `unknown`"))
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(1))
    lastAt = ma.fields.AwareDateTime(**required("The instant of the last failure; null if unknown", nullable=True))
    nextStep = ma.fields.String(**required("Advice for the agent's owner"))


AgentRejectionsSchema = period_schema("AgentRejections", RejectionSchema, agentId=ma.fields.UUID(required=True))


@usage_route(blueprint, "/agents/<uuid:agent_id>/rejections", AgentRejectionsSchema, tool="agent_rejections")
def agent_rejections(caller: Caller, period: Period, agent_id: UUID) -> Response:
    """Why and from which networks requests of an agent failed to authenticate, and what to do.

    Networks are stored for 30 days.
    """
    [rejection_rows] = caller.read_together(build_rejections_call(agent_id, period))
    return respond(caller, period, represent_rejections(rejection_rows), RejectionSchema, agentId=str(agent_id))


def build_rejections_call(agent_id: UUID, period: Period) -> Call:
    """Return the statement that reads an agent's failed authentications."""
    return Call("analytics/agent_rejections", {"agent_id": agent_id, **period.bounds})


def represent_rejections(rows: Rows) -> list[dict[str, Any]]:
    """Return the rows of :func:`build_rejections_call` as JSON of the API.

    :raises NotFound: the organization has no such agent.
    """
    require_row(rows)
    return [
        {
            "date": row.date,
            "reason": row.reason,
            "network": row.network,
            "count": row.rejections,
            "lastAt": timestamp(row.last_rejected_at),
            "nextStep": NEXT_STEPS.get(row.reason, ""),
        }
        for row in rows
        if row.date is not None
    ]
