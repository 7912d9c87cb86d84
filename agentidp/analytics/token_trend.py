"""``GET /api/v1/analytics/tokens``: tokens issued per UTC day."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from functools import lru_cache
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS, WholeNumber

blueprint = Blueprint("token-trend", __name__, description="Token issuance trend")


class TokenTrendArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, MAX_DAYS, load_default=30)


class DaySchema(ma.Schema):
    """A UTC day."""

    date = ma.fields.Date(required=True)
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


class TokenTrendSchema(ma.Schema):
    """Exactly ``days`` items, the last one today."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS))
    data = ma.fields.List(ma.fields.Nested(DaySchema), required=True)


@blueprint.route("/api/v1/analytics/tokens")
@bearer("analytics:read")
@blueprint.tool("token_trend")
@blueprint.arguments(TokenTrendArguments(), location="query")
@blueprint.data_response(TokenTrendSchema)
def token_trend(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens issued per UTC day over the past days, zeros included, oldest first."""
    days = arguments["days"]
    return data_response(
        {"tenantId": caller.organization_id, "days": days, "data": tokens_by_day(caller, days)}, DaySchema
    )


def tokens_by_day(caller: Caller, days: int) -> list[tuple[str, int]]:
    """The trend's items, dates and tokens, oldest first, zeros included, the last one today."""
    counts = [0] * days
    for ago, tokens in caller.read("analytics/token_trend", days=days):
        counts[-1 - ago] = tokens
    dates = _dates(caller.at.astimezone(UTC).date(), days)
    return list(zip(dates, counts, strict=True))


@lru_cache(maxsize=2 * MAX_DAYS)
def _dates(today: date, days: int) -> tuple[str, ...]:
    """The days, oldest first. Remembered, since all requests of a day need the same."""
    return tuple((today - timedelta(ago)).isoformat() for ago in range(days - 1, -1, -1))
