"""``GET /api/v1/analytics/findings``: the machine that reads the numbers.

A kind of finding is a module here and a statement in ``sql/findings``: the statement does the set work, with
the thresholds as parameters, and the module puts what it found into words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.db.sql import Rows
from agentidp.findings import budget, dominance, peak, rejections, silence, spike, uncached_tokens, weekend, zero_day
from agentidp.findings.finding import (
    AmountSchema,
    BaselineSchema,
    BehindItSchema,
    Finding,
    Kind,
    Look,
    Severity,
    WindowSchema,
)
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import answer
from agentidp.http.schemas import WholeNumber

KINDS: dict[str, Kind] = {
    kind.__name__.rpartition(".")[2]: kind
    for kind in (budget, dominance, peak, rejections, silence, spike, uncached_tokens, weekend, zero_day)
}
"""Name -> module."""

DEFAULT_DAYS = 7
DEFAULT_DOMINANCE_PERCENT = 80

blueprint = Blueprint("findings", __name__, description="Findings")


class FindingsArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, 90, load_default=DEFAULT_DAYS)
    dominance_percent = WholeNumber(1, 99, load_default=DEFAULT_DOMINANCE_PERCENT, data_key="dominancePercent")


class FindingSchema(ma.Schema):
    """Something that an operator should know."""

    kind = ma.fields.String(required=True, validate=ma.validate.OneOf([*KINDS]))
    severity = ma.fields.String(required=True, validate=ma.validate.OneOf([severity.name for severity in Severity]))
    agentId = ma.fields.UUID(required=True, allow_none=True)
    agentName = ma.fields.String(required=True, allow_none=True)
    window = ma.fields.Nested(WindowSchema, required=True)
    observed = ma.fields.Nested(AmountSchema, required=True)
    expected = ma.fields.Nested(BaselineSchema, required=True)
    agents = ma.fields.List(ma.fields.Nested(BehindItSchema), required=True)
    summary = ma.fields.String(required=True)
    causes = ma.fields.String(required=True)
    next = ma.fields.String(required=True)


class FindingsSchema(ma.Schema):
    """The findings of the last days, the most urgent first."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, 90))
    data = ma.fields.List(ma.fields.Nested(FindingSchema), required=True)


@blueprint.route("/api/v1/analytics/findings")
@bearer("analytics:read")
@blueprint.arguments(FindingsArguments(), location="query")
@blueprint.answers(FindingsSchema)
@blueprint.alt_response(429, "RATE_LIMITED")
def get_findings(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Unusual usage of the organization, the most urgent first."""
    return answer(
        {
            "tenantId": caller.organization_id,
            "days": arguments["days"],
            "data": [finding.represent() for finding in callers_findings(caller, **arguments)],
        },
        FindingSchema,
    )


def callers_findings(caller: Caller, *, days: int, dominance_percent: int) -> list[Finding]:
    """The findings of the caller's organization, as :func:`findings` sorts them.

    :param days: how many UTC days back a finding may lie, today included.
    :param dominance_percent: the share of the month above which an agent dominates.
    :raises RateLimited: too many requests for findings are running.
    """
    token_ttl = caller.settings.token_ttl
    look = Look(at=caller.at, days=days, token_ttl=token_ttl, dominance_percent=dominance_percent)
    with caller.expensive_read():
        return findings(caller.read_together, look)


def findings(run: Callable[..., list[Rows]], look: Look) -> list[Finding]:
    """The findings of an organization, the most urgent first, then the newest.

    :param run: runs the calls given to it for the organization at ``look.at``, all in one round trip, and returns the
        rows of each.
    """
    found = [
        finding
        for kind, rows in zip(KINDS.values(), run(*(kind.call(look) for kind in KINDS.values())), strict=True)
        for finding in kind.findings(rows, look)
    ]
    return sorted(
        found,
        key=lambda one: (-one.severity, -one.ends.timestamp(), -one.begins.timestamp(), one.kind, str(one.agent_id)),
    )
