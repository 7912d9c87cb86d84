"""Rejected requests per UTC day, for the dashboard."""

from __future__ import annotations

from typing import Any

from agentidp.caller import Caller


def rejections_by_day(caller: Caller, days: int) -> list[dict[str, Any]]:
    """The trend's items, oldest first, zeros included, the last one today."""
    return [{"date": row.date, "count": row.count} for row in caller.read("analytics/rejection_trend", days=days)]
