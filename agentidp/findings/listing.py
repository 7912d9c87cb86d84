"""``GET /api/v1/analytics/findings``: the stored findings of an organization with their state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.alerts.state_change import FORMER_KINDS, SEVERITIES
from agentidp.caller import Caller, bearer
from agentidp.findings import DEFAULT_DAYS
from agentidp.findings.finding import STATES, StoredFinding
from agentidp.findings.identity import FindingChange
from agentidp.findings.incidents import group_into_incidents
from agentidp.findings.kinds import KINDS
from agentidp.findings.store import Fetch, Listing, read_finding, read_listing
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response, json_response
from agentidp.http.schemas import MAX_DAYS, Instant, ReturnedSchema, WholeNumber, required, timestamp

STORED_KINDS = (*KINDS, *FORMER_KINDS)

_ACTOR = (
    "the name of the agent; the name of the person who is signed in to the dashboard, or the person's ID at the "
    "provider; or `operator` for a command. Agents and people can have any name, also that of another or `operator`: "
    "the audit trail says who it was"
)

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
        metadata={"description": "Findings that name this agent, alone or among several"},
    )


class AmountSchema(ma.Schema):
    """An amount of tokens, requests or days."""

    value = ma.fields.Float(required=True)
    unit = ma.fields.String(required=True)


class BaselineSchema(AmountSchema):
    """The expected amount, and how it was calculated."""

    baseline = ma.fields.String(required=True)


class WindowSchema(ma.Schema):
    """A half-open period. ``to`` is the first instant after the period."""

    from_ = ma.fields.AwareDateTime(required=True, data_key="from")
    to = ma.fields.AwareDateTime(required=True)


class ContributorSchema(ma.Schema):
    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    count = ma.fields.Integer(required=True)


class FindingSchema(ma.Schema):
    """A fact about an organization's usage that an operator should know."""

    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(STORED_KINDS))
    severity = ma.fields.String(required=True, validate=ma.validate.OneOf(SEVERITIES))
    agentId = ma.fields.UUID(**required(nullable=True))
    agentName = ma.fields.String(**required(nullable=True))
    window = ma.fields.Nested(WindowSchema, required=True)
    since = ma.fields.AwareDateTime(
        **required("The beginning. For a monthly budget or quota, the day on which the limit was passed")
    )
    observed = ma.fields.Nested(AmountSchema, required=True)
    expected = ma.fields.Nested(BaselineSchema, required=True)
    agents = ma.fields.List(ma.fields.Nested(ContributorSchema), required=True)
    agentCount = ma.fields.Integer(required=True)
    alsoSeenAs = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(STORED_KINDS)), required=True)
    summary = ma.fields.String(required=True)
    causes = ma.fields.String(required=True)
    next = ma.fields.String(required=True)
    credentialId = ma.fields.UUID(**required("The only credential of the finding, if there is one", nullable=True))
    findingId = ma.fields.UUID(**required("The ID, which stays the same while the finding is ongoing", nullable=True))
    state = ma.fields.String(**required(nullable=True), validate=ma.validate.OneOf(["ongoing", "ended"]))
    firstSeenAt = ma.fields.AwareDateTime(**required(nullable=True))
    lastSeenAt = ma.fields.AwareDateTime(**required(nullable=True))
    endedAt = ma.fields.AwareDateTime(**required(nullable=True))
    acknowledgedAt = ma.fields.AwareDateTime(**required(nullable=True))
    acknowledgedBy = ma.fields.String(**required(f"Who acknowledged it: {_ACTOR}", nullable=True))
    note = ma.fields.String(**required(nullable=True))
    mutedUntil = ma.fields.AwareDateTime(**required(nullable=True))


class ListedFindingSchema(FindingSchema):
    partOf = ma.fields.UUID(**required("The finding about the organization that has this part", nullable=True))


class FindingsSchema(ma.Schema):
    """The findings that are ongoing or ended in the requested days. Ongoing and urgent findings come first."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS))
    data = ma.fields.List(ma.fields.Nested(ListedFindingSchema), required=True)
    notComputed = ma.fields.List(ma.fields.String(validate=ma.validate.OneOf(STORED_KINDS)), required=True)
    evaluatedAt = ma.fields.AwareDateTime(required=True)


class ChangeSchema(ReturnedSchema):
    at = Instant(attribute="changed_at")
    change = ma.fields.String(validate=ma.validate.OneOf([*FindingChange]))
    severity = ma.fields.String(validate=ma.validate.OneOf(SEVERITIES))
    by = ma.fields.String(
        attribute="changed_by", **required(f"Who made the change: {_ACTOR}. Null for an evaluation", nullable=True)
    )
    note = ma.fields.String(allow_none=True)


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
    day_count = arguments.pop("days")
    listing = read_callers_listing(caller, days=day_count)
    head_ids_by_finding_id = {
        finding.finding_id: str(incident.head.finding_id)
        for incident in group_into_incidents(listing.findings)
        for finding in incident.parts
    }
    response_rows = [
        finding.represent() | {"partOf": head_ids_by_finding_id.get(finding.finding_id)}
        for finding in filter_findings(listing.findings, **arguments)
    ]
    return data_response(
        {
            "tenantId": caller.organization_id,
            "days": day_count,
            "data": response_rows,
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
    return json_response(represent_with_history(caller.read, read_callers_finding(caller, finding_id)))


def represent_with_history(fetch: Fetch, finding: StoredFinding) -> dict[str, Any]:
    """Return a finding with the changes of its state as JSON of the API."""
    change_rows = fetch("finding_state/finding_history", finding_id=finding.finding_id)
    return finding.represent() | {"history": ChangeSchema(many=True).dump(change_rows)}


def read_callers_finding(caller: Caller, finding_id: UUID) -> StoredFinding:
    """Return a stored finding of the caller's organization.

    :raises NotFound: the organization has no such finding.
    """
    try:
        return read_finding(caller.read, finding_id)
    except NotFound:
        # An alert can arrive before a read replica has the finding, so the primary is read.
        if not caller.leave_replica():
            raise
        return read_finding(caller.read, finding_id)


def read_callers_listing(caller: Caller, *, days: int = DEFAULT_DAYS) -> Listing:
    """Return the stored findings of the caller's organization (:func:`agentidp.findings.store.read_listing`)."""
    return read_listing(caller.read_together, caller.transaction, caller.at, caller.settings, days=days)


def filter_findings(
    findings: Iterable[StoredFinding], *, state: str | None, kind: str | None, agent: UUID | None
) -> list[StoredFinding]:
    """Return the findings with this state and kind that name this agent. ``None`` matches all findings."""
    return [
        finding
        for finding in findings
        if state in (None, *finding.states) and kind in (None, finding.kind) and agent in (None, *finding.agent_ids)
    ]
