"""``GET /api/v1/analytics/tokens``: tokens issued per UTC day."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import MAX_PERIOD_DAYS, Period
from agentidp.analytics.usage_route import usage_route
from agentidp.caller import Caller
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


@usage_route(blueprint, "/tokens", TokenTrendSchema, tool="token_trend")
def token_trend(caller: Caller, period: Period) -> Response:
    """Tokens issued per UTC day over the days of a period, zeros included, oldest first."""
    tokens_by_day = [0] * period.days
    for day_index, day_tokens in caller.read("analytics/token_trend", **period.bounds):
        tokens_by_day[day_index] = day_tokens
    response_rows = list(zip(_list_dates(period), tokens_by_day, strict=True))
    return data_response({"tenantId": caller.organization_id, "days": period.days, "data": response_rows}, DaySchema)


@lru_cache(maxsize=256)
def _list_dates(period: Period) -> tuple[str, ...]:
    """Return a period's days in ISO 8601, oldest first. Cached, because most requests have one of a few periods."""
    return tuple((period.first + timedelta(days=day_index)).isoformat() for day_index in range(period.days))
