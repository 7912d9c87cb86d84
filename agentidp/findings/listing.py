"""``GET /api/v1/analytics/findings``: an organization's findings and their state, as ``agentidp watch`` stored them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call
from agentidp.findings import DEFAULT_DAYS, DEFAULT_DOMINANCE_PERCENT, KINDS, callers_findings
from agentidp.findings.finding import AmountSchema, BaselineSchema, ContributorSchema, Finding, Severity, WindowSchema
from agentidp.findings.identity import Happening
from agentidp.findings.store import KnownFinding, Listing, Run, listing_of, read_finding
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response, json_response
from agentidp.http.schemas import MAX_DAYS, WholeNumber, timestamp

STATES = ("ongoing", "acknowledged", "ended")
"""What the findings of a list can be. One that is acknowledged may go on, or have ended."""

STATELESS = dict.fromkeys(
    (
        "findingId",
        "state",
        "firstSeenAt",
        "lastSeenAt",
        "endedAt",
        "acknowledgedAt",
        "acknowledgedBy",
        "note",
        "mutedUntil",
    )
)
"""The state of a finding that is computed with a parameter of the caller's own, and not stored."""

WHO = (
    "the name of the agent; the name of the person who is signed in to the dashboard, or the person's ID at the "
    "provider; or `operator` for a command. Agents and people can have any name, also that of another or `operator`: "
    "the audit trail says who it was"
)
"""What the API says about the names of those who act."""

blueprint = Blueprint("findings", __name__, description="Findings")


def _one_of(choices: Iterable[str]) -> ma.validate.OneOf:
    choices = [*choices]
    return ma.validate.OneOf(choices, error=f"must be one of {', '.join(choices)}")


class FindingsArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, MAX_DAYS, load_default=DEFAULT_DAYS)
    dominance_percent = WholeNumber(1, 99, load_default=DEFAULT_DOMINANCE_PERCENT, data_key="dominancePercent")
    state = ma.fields.String(validate=_one_of(STATES), load_default=None)
    kind = ma.fields.String(validate=_one_of(KINDS), load_default=None)
    agent = ma.fields.UUID(
        load_default=None,
        error_messages={"invalid_uuid": "must be an agent's id"},
        metadata={"description": "Findings about this agent, or about several of which it is one"},
    )


class FindingSchema(ma.Schema):
    """Something that an operator should know."""

    kind = ma.fields.String(required=True, validate=ma.validate.OneOf([*KINDS]))
    severity = ma.fields.String(required=True, validate=ma.validate.OneOf([severity.name for severity in Severity]))
    agentId = ma.fields.UUID(required=True, allow_none=True)
    agentName = ma.fields.String(required=True, allow_none=True)
    window = ma.fields.Nested(WindowSchema, required=True)
    observed = ma.fields.Nested(AmountSchema, required=True)
    expected = ma.fields.Nested(BaselineSchema, required=True)
    agents = ma.fields.List(ma.fields.Nested(ContributorSchema), required=True)
    agentCount = ma.fields.Integer(required=True)
    alsoSeenAs = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf([*KINDS])), required=True)
    summary = ma.fields.String(required=True)
    causes = ma.fields.String(required=True)
    next = ma.fields.String(required=True)
    credentialId = ma.fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "The credential of the agent that it is about; null if it is about none, or several"},
    )
    findingId = ma.fields.UUID(
        required=True,
        allow_none=True,
        metadata={"description": "Stays the same while the finding goes on; null if dominancePercent was given"},
    )
    state = ma.fields.String(required=True, allow_none=True, validate=ma.validate.OneOf(["ongoing", "ended"]))
    firstSeenAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    lastSeenAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    endedAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    acknowledgedAt = ma.fields.AwareDateTime(required=True, allow_none=True)
    acknowledgedBy = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": f"Who acknowledged it: {WHO}"},
    )
    note = ma.fields.String(required=True, allow_none=True)
    mutedUntil = ma.fields.AwareDateTime(required=True, allow_none=True)


class FindingsSchema(ma.Schema):
    """The findings that go on or ended in the last days; what is ongoing and most urgent first."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS))
    data = ma.fields.List(ma.fields.Nested(FindingSchema), required=True)
    notComputed = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf([*KINDS])), required=True)
    evaluatedAt = ma.fields.AwareDateTime(required=True)


class ChangeSchema(ma.Schema):
    """Something that happened to a finding."""

    at = ma.fields.AwareDateTime(required=True)
    change = ma.fields.String(required=True, validate=ma.validate.OneOf([*Happening]))
    severity = ma.fields.String(required=True, validate=ma.validate.OneOf([severity.name for severity in Severity]))
    by = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": f"Who did it: {WHO}. Null if an evaluation did"},
    )
    note = ma.fields.String(required=True, allow_none=True)


class FindingWithHistorySchema(FindingSchema):
    """A finding, and what happened to it, oldest first."""

    history = ma.fields.List(ma.fields.Nested(ChangeSchema), required=True)


@blueprint.route("/api/v1/analytics/findings")
@bearer("analytics:read")
@blueprint.arguments(FindingsArguments(), location="query")
@blueprint.data_response(FindingsSchema)
@blueprint.alt_response(429, "RATE_LIMITED")
def get_findings(caller: Caller, arguments: dict[str, Any]) -> Response:
    """What the organization's usage says that an operator should know; what is ongoing and most urgent first."""
    days, percent = arguments["days"], arguments["dominance_percent"]
    state, kind, agent = arguments["state"], arguments["kind"], arguments["agent"]
    if percent == DEFAULT_DOMINANCE_PERCENT:
        listing = callers_listing(caller, days=days)
        evaluated_at, not_computed = listing.evaluated_at, listing.not_computed
        data = [one.represent() for one in filtered(listing, state=state, kind=kind, agent=agent)]
    else:
        found = callers_findings(caller, days=days, dominance_percent=percent)
        evaluated_at, not_computed = caller.at, found.not_computed
        data = [
            one.represent() | STATELESS
            for one in found.findings
            if state is None and kind in (None, one.kind) and concerns(one, agent)
        ]
    return data_response(
        {
            "tenantId": caller.organization_id,
            "days": days,
            "data": data,
            "notComputed": list(not_computed),
            "evaluatedAt": timestamp(evaluated_at),
        },
        FindingSchema,
    )


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>")
@bearer("analytics:read")
@blueprint.response(200, FindingWithHistorySchema)
def get_finding(caller: Caller, finding_id: UUID) -> Response:
    """Return one finding, and what happened to it."""
    return json_response(with_history(caller.read_together, callers_finding(caller, finding_id)))


def with_history(run: Run, finding: KnownFinding) -> dict[str, Any]:
    """A finding and its history as our JSON."""
    [rows] = run(Call("finding_state/finding_history", {"finding_id": finding.finding_id}))
    history = [
        {
            "at": timestamp(row.changed_at),
            "change": row.change,
            "severity": row.severity,
            "by": row.changed_by,
            "note": row.note,
        }
        for row in rows
    ]
    return finding.represent() | {"history": history}


def callers_finding(caller: Caller, finding_id: UUID) -> KnownFinding:
    """One stored finding of the caller's organization.

    An alert can be sooner than a read replica: what the replica does not have is looked for on the primary.

    :raises NotFound: there is no such finding in the organization.
    """
    finding = read_finding(caller.read_together, finding_id)
    if finding is None and caller.leave_replica():
        finding = read_finding(caller.read_together, finding_id)
    if finding is None:
        raise NotFound
    return finding


def callers_listing(caller: Caller, *, days: int = DEFAULT_DAYS) -> Listing:
    """The stored findings of the caller's organization, as :func:`agentidp.findings.store.listing_of` returns them.

    :raises RateLimited: they had to be computed, and too many requests for that are running.
    """
    return listing_of(
        caller.read_together, caller.transaction, caller.at, caller.settings, days=days, turn=caller.expensive_read
    )


def filtered(listing: Listing, *, state: str | None, kind: str | None, agent: UUID | None) -> list[KnownFinding]:
    """Those of a list that are in a state, of a kind and about an agent; ``None`` is any."""
    return [
        one
        for one in listing.findings
        if _is_in(one, state) and kind in (None, one.kind) and concerns(one.finding, agent)
    ]


def _is_in(one: KnownFinding, state: str | None) -> bool:
    if state == "acknowledged":
        return one.acknowledged_at is not None
    return state is None or one.is_ongoing == (state == "ongoing")


def concerns(finding: Finding, agent_id: UUID | None) -> bool:
    """Whether a finding names an agent, also as one of several; ``None`` is any."""
    return agent_id is None or agent_id in (finding.agent_id, *(agent.agent_id for agent in finding.agents))
