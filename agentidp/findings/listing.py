"""``GET /api/v1/analytics/findings``: the stored findings of an organization with their state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.alerts.state_change import FORMER_KINDS
from agentidp.caller import Caller, bearer
from agentidp.findings import DEFAULT_DAYS
from agentidp.findings.finding import STATES, Finding, KnownFinding, Severity
from agentidp.findings.identity import Happening
from agentidp.findings.incidents import incidents
from agentidp.findings.kinds import KINDS
from agentidp.findings.store import Fetch, Listing, listing_of, read_finding
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response, json_response
from agentidp.http.schemas import MAX_DAYS, WholeNumber, timestamp

F = TypeVar("F", bound=Finding)

STORED_KINDS = (*KINDS, *FORMER_KINDS)

WHO = (
    "the name of the agent; the name of the person who is signed in to the dashboard, or the person's ID at the "
    "provider; or `operator` for a command. Agents and people can have any name, also that of another or `operator`: "
    "the audit trail says who it was"
)
"""The description of the names of those who act."""

blueprint = Blueprint("findings", __name__, description="Findings")


def _one_of(choices: Iterable[str]) -> ma.validate.OneOf:
    choices = [*choices]
    return ma.validate.OneOf(choices, error=f"must be one of {', '.join(choices)}")


class FindingsArguments(ma.Schema):
    days = WholeNumber(1, MAX_DAYS, load_default=DEFAULT_DAYS)
    state = ma.fields.String(validate=_one_of(STATES), load_default=None)
    kind = ma.fields.String(validate=_one_of(STORED_KINDS), load_default=None)
    agent = ma.fields.UUID(
        load_default=None,
        error_messages={"invalid_uuid": "must be an agent's id"},
        metadata={"description": "Findings about this agent, or about several of which it is one"},
    )


class AmountSchema(ma.Schema):
    """The amount that was observed."""

    value = ma.fields.Float(required=True)
    unit = ma.fields.String(required=True)


class BaselineSchema(AmountSchema):
    """The amount that was expected, and how it was calculated."""

    baseline = ma.fields.String(required=True)


class WindowSchema(ma.Schema):
    """A half-open time: ``to`` is the first instant after it."""

    from_ = ma.fields.AwareDateTime(required=True, data_key="from")
    to = ma.fields.AwareDateTime(required=True)


class ContributorSchema(ma.Schema):
    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    count = ma.fields.Integer(required=True)


class FindingSchema(ma.Schema):
    """A fact about an organization's usage that an operator should know."""

    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(STORED_KINDS))
    severity = ma.fields.String(required=True, validate=ma.validate.OneOf([severity.name for severity in Severity]))
    agentId = ma.fields.UUID(required=True, allow_none=True)
    agentName = ma.fields.String(required=True, allow_none=True)
    window = ma.fields.Nested(WindowSchema, required=True)
    since = ma.fields.AwareDateTime(
        required=True,
        metadata={
            "description": "From when on it is so: of a budget or a quota of a month, the day on which it was passed"
        },
    )
    observed = ma.fields.Nested(AmountSchema, required=True)
    expected = ma.fields.Nested(BaselineSchema, required=True)
    agents = ma.fields.List(ma.fields.Nested(ContributorSchema), required=True)
    agentCount = ma.fields.Integer(required=True)
    alsoSeenAs = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(STORED_KINDS)), required=True)
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
        metadata={"description": "Stays the same while the finding goes on"},
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


class ListedFindingSchema(FindingSchema):
    partOf = ma.fields.UUID(
        required=True,
        allow_none=True,
        metadata={
            "description": "The finding about the whole organization that it explains, which is listed before it"
        },
    )


class FindingsSchema(ma.Schema):
    """The findings that are ongoing or ended in the last days, the ongoing and most urgent ones first."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS))
    data = ma.fields.List(ma.fields.Nested(ListedFindingSchema), required=True)
    notComputed = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(STORED_KINDS)), required=True)
    evaluatedAt = ma.fields.AwareDateTime(required=True)


class ChangeSchema(ma.Schema):
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
    """A finding and the changes of its state, oldest first."""

    history = ma.fields.List(ma.fields.Nested(ChangeSchema), required=True)


@blueprint.route("/api/v1/analytics/findings")
@bearer("analytics:read")
@blueprint.tool("findings")
@blueprint.arguments(FindingsArguments(), location="query")
@blueprint.data_response(FindingsSchema)
def get_findings(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Return the findings that an operator should know, the ongoing and most urgent ones first."""
    days = arguments.pop("days")
    listing = callers_listing(caller, days=days)
    incident_ids = {
        part.finding_id: incident.head.finding_id for incident in incidents(listing.findings) for part in incident.parts
    }
    data = [
        finding.represent()
        | {"partOf": str(incident_id) if (incident_id := incident_ids.get(finding.finding_id)) else None}
        for finding in filtered(listing.findings, **arguments)
    ]
    return data_response(
        {
            "tenantId": caller.organization_id,
            "days": days,
            "data": data,
            "notComputed": list(listing.not_computed),
            "evaluatedAt": timestamp(listing.evaluated_at),
        },
        ListedFindingSchema,
    )


@blueprint.route("/api/v1/analytics/findings/<uuid:finding_id>")
@bearer("analytics:read")
@blueprint.tool("finding")
@blueprint.response(200, FindingWithHistorySchema)
def get_finding(caller: Caller, finding_id: UUID) -> Response:
    """Return a finding and the changes of its state."""
    return json_response(with_history(caller.read, callers_finding(caller, finding_id)))


def with_history(fetch: Fetch, finding: KnownFinding) -> dict[str, Any]:
    """Return the JSON of a finding with its history."""
    history = [
        {
            "at": timestamp(row.changed_at),
            "change": row.change,
            "severity": row.severity,
            "by": row.changed_by,
            "note": row.note,
        }
        for row in fetch("finding_state/finding_history", finding_id=finding.finding_id)
    ]
    return finding.represent() | {"history": history}


def callers_finding(caller: Caller, finding_id: UUID) -> KnownFinding:
    """Return a stored finding of the caller's organization.

    An alert can arrive before a read replica has the finding, so the primary is asked as well.

    :raises NotFound: the organization has no such finding.
    """
    try:
        return read_finding(caller.read, finding_id)
    except NotFound:
        if not caller.leave_replica():
            raise
        return read_finding(caller.read, finding_id)


def callers_listing(caller: Caller, *, days: int = DEFAULT_DAYS) -> Listing:
    """Return the stored findings of the caller's organization (:func:`agentidp.findings.store.listing_of`)."""
    return listing_of(caller.read_together, caller.transaction, caller.at, caller.settings, days=days)


def filtered(findings: Iterable[F], *, state: str | None, kind: str | None, agent: UUID | None) -> list[F]:
    """Return the findings with a state, of a kind, and that name an agent. ``None`` selects all."""
    return [
        finding
        for finding in findings
        if state in (None, *finding.states) and kind in (None, finding.kind) and agent in (None, *finding.agent_ids)
    ]
