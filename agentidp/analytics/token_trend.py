"""``GET /api/v1/analytics/tokens``: tokens issued per UTC day."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import MAX_PERIOD_DAYS, Period, PeriodArguments, read_period
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response

blueprint = Blueprint("token-trend", __name__, description="Token issuance trend")


class DaySchema(ma.Schema):
    """The number of tokens on a UTC day."""

    date = ma.fields.Date(required=True)
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


class TokenTrendSchema(ma.Schema):
    """The tokens of a period, with exactly ``days`` items, one per day."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_PERIOD_DAYS))
    data = ma.fields.List(ma.fields.Nested(DaySchema), required=True)


@blueprint.route("/api/v1/analytics/tokens")
@bearer("analytics:read")
@blueprint.tool("token_trend")
@blueprint.arguments(PeriodArguments(), location="query")
@blueprint.data_response(TokenTrendSchema)
def token_trend(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens issued per UTC day over the days of a period, zeros included, oldest first."""
    period = read_period(arguments, caller.at)
    tokens_by_day = [0] * period.days
    for day_index, tokens in caller.read("analytics/token_trend", **period.bounds):
        tokens_by_day[day_index] = tokens
    response_rows = list(zip(_list_dates(period), tokens_by_day, strict=True))
    return data_response({"tenantId": caller.organization_id, "days": period.days, "data": response_rows}, DaySchema)


@lru_cache(maxsize=256)
def _list_dates(period: Period) -> tuple[str, ...]:
    """Return the days of a period in ISO 8601, oldest first. Cached, because requests repeat few periods."""
    return tuple((period.first + timedelta(days=day_index)).isoformat() for day_index in range(period.days))
