"""``/api/v1/grants``: the grants by which people let agents act for them, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call
from agentidp.http import schemas
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.oauth.grants import compute_revocation_expiry, end_grant
from agentidp.registry.cursor import decode_cursor, encode_cursor
from agentidp.registry.delegation_rules import find_rule

blueprint = Blueprint("grants", __name__, description="What people let agents do")

MAX_PAGE = 100
"""Maximum number of grants per page."""


class GrantSchema(schemas.ReturnedSchema):
    """The access that a person has granted to an agent."""

    grantId = ma.fields.UUID(attribute="grant_id", required=True)
    agentId = ma.fields.UUID(attribute="agent_id", required=True)
    agentName = ma.fields.String(attribute="agent_name", required=True)
    delegationRuleId = ma.fields.UUID(attribute="delegation_rule_id", required=True)
    delegationRuleName = ma.fields.String(attribute="rule_name", **schemas.required(nullable=True))
    issuer = ma.fields.String(**schemas.required("The issuer at which the person has signed in"))
    subject = ma.fields.String(**schemas.required("The `sub` of the grant's tokens"))
    resource = ma.fields.String(required=True)
    scopes = ma.fields.List(ma.fields.String(), required=True)
    createdAt = schemas.Instant(attribute="created_at", required=True)
    lastUsedAt = schemas.Instant(attribute="last_used_at", **schemas.required("The instant of the last token"))
    expiresAt = schemas.Instant(
        attribute="expires_at", **schemas.required("The instant from which the person must allow it again")
    )


represent = GrantSchema().as_json


def _build_id_field(noun: str, description: str) -> ma.fields.UUID:
    id_field = ma.fields.UUID(load_default=None, metadata={"description": description})
    id_field.error_messages["invalid_uuid"] = f"must be the id of {noun}"
    return id_field


class ListArguments(ma.Schema):
    agent = _build_id_field("an agent", "Only grants to this agent")
    delegationRule = _build_id_field("a delegation rule", "Only grants by this delegation rule")
    limit = schemas.WholeNumber(1, MAX_PAGE, load_default=50)
    cursor = ma.fields.String(load_default=None, metadata={"description": "`nextCursor` of the previous page"})


class GrantListSchema(ma.Schema):
    data = ma.fields.List(ma.fields.Nested(GrantSchema), required=True)
    nextCursor = ma.fields.String(required=True, allow_none=True)


class EndedGrantsSchema(ma.Schema):
    ended = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


@blueprint.route("/api/v1/grants")
@bearer("agents:read")
@blueprint.arguments(ListArguments, location="query")
@blueprint.response(200, GrantListSchema)
def list_grants(caller: Caller, arguments: dict[str, Any]) -> Response:
    """List the grants by which people let agents act for them, newest first."""
    limit = arguments["limit"]
    grants_call = build_list_call(
        arguments["agent"], arguments["delegationRule"], before=decode_cursor(arguments["cursor"]), limit=limit + 1
    )
    [grant_rows] = caller.read_together(grants_call)
    grant_page = grant_rows[:limit]
    next_cursor = encode_cursor(grant_page[-1].created_at, grant_page[-1].grant_id) if len(grant_rows) > limit else None
    return json_response({"data": [represent(grant_row) for grant_row in grant_page], "nextCursor": next_cursor})


@blueprint.route("/api/v1/grants/<uuid:grant_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(204)
def delete_grant(caller: Caller, grant_id: UUID) -> Response:
    """End a grant. The agent gets no further token by it, and introspection reports the grant's tokens as inactive."""
    with caller.transaction() as transaction:
        end_grant(transaction, grant_id)
    return Response(status=204)


@blueprint.route("/api/v1/agents/<uuid:agent_id>/grants", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(200, EndedGrantsSchema)
def delete_agent_grants(caller: Caller, agent_id: UUID) -> Response:
    """End all grants by which people let an agent act for them."""
    with caller.transaction() as transaction:
        ended_count = end_agent_grants(transaction, agent_id)
    return json_response({"ended": ended_count})


@blueprint.route("/api/v1/delegation-rules/<uuid:delegation_rule_id>/grants", methods=["DELETE"])
@bearer("agents:write")
@blueprint.response(200, EndedGrantsSchema)
def delete_delegation_rule_grants(caller: Caller, delegation_rule_id: UUID) -> Response:
    """End all grants that people have made by a delegation rule. The rule stays."""
    with caller.transaction() as transaction:
        ended_count = end_rule_grants(transaction, delegation_rule_id)
    return json_response({"ended": ended_count})


def build_list_call(
    agent_id: UUID | None = None,
    rule_id: UUID | None = None,
    *,
    grant_id: UUID | None = None,
    subject: str | None = None,
    before: tuple[datetime | None, UUID | None] = (None, None),
    limit: int = MAX_PAGE,
) -> Call:
    """Return the call that lists grants, newest first. A filter that is ``None`` does not apply.

    :param subject: the digest of the person, from :func:`agentidp.oauth.grants.compute_person_subject`.
    :param before: the creation time and the id of the previous page's last grant; two ``None`` for the first page.
    """
    before_at, before_id = before
    return Call(
        "grants/list_grants",
        {
            "grant_id": grant_id,
            "agent_id": agent_id,
            "delegation_rule_id": rule_id,
            "subject": subject,
            "before_at": before_at,
            "before_id": before_id,
            "limit": limit,
        },
    )


def end_agent_grants(transaction: Transaction, agent_id: UUID) -> int:
    """End all grants by which people let an agent act for them. Return the number of grants, or raise ``NotFound``."""
    require_row(transaction.fetch("agents/get_agent", agent_id=agent_id))
    ended_count = end_grants(transaction, agent_id=agent_id)
    audit.record(transaction, "agent.grants_ended", agent_id, after={"grants": ended_count})
    return ended_count


def end_rule_grants(transaction: Transaction, rule_id: UUID) -> int:
    """End all grants that people have made by a delegation rule. Return the number of grants, or raise ``NotFound``."""
    rule_row = find_rule(transaction.fetch("delegation/list_rules"), rule_id)
    ended_count = end_grants(transaction, rule_id=rule_id)
    event_details = {"name": rule_row.name, "grants": ended_count}
    audit.record(transaction, "delegation_rule.grants_ended", rule_id, after=event_details)
    return ended_count


def end_grants(
    transaction: Transaction, *, agent_id: UUID | None = None, rule_id: UUID | None = None, issuer: str | None = None
) -> int:
    """End all grants of one agent, delegation rule or issuer (pass one of the three). Return the number of grants."""
    grant_rows = transaction.fetch("grants/end_grants", agent_id=agent_id, delegation_rule_id=rule_id, issuer=issuer)
    grant_ids = [str(grant_row.grant_id) for grant_row in grant_rows]
    transaction.fetch("oauth/revoke_tokens", jtis=grant_ids, expires_at=compute_revocation_expiry(transaction.at))
    return len(grant_rows)
