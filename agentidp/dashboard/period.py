"""Which days a page shows."""

from __future__ import annotations

from flask import request

from agentidp.http.errors import ValidationError

PERIODS = (7, 30, 90)
"""Numbers of days that a page can show, the last of them today."""

DEFAULT_PERIOD = 30


def requested_days() -> int:
    """The number of days that the request asks for.

    :raises ValidationError: it is none of :data:`PERIODS`.
    """
    days = request.args.get("days", str(DEFAULT_PERIOD))
    if days not in map(str, PERIODS):
        raise ValidationError("The page shows 7, 30 or 90 days.")
    return int(days)
