"""What a token response says of quotas: which one refuses the token, and how much is left of those that are enforced.

``sql/functions/check_quotas.sql`` decides. A quota's window is the UTC hour, day or calendar month of the instant at
which the token is issued.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agentidp.http.errors import OAuthError

WINDOWS = ("hour", "day", "month")
"""Whose end allows a quota's tokens again."""


class QuotaExhausted(OAuthError):
    """429: a quota refuses the token."""


class Quota(NamedTuple):
    """A quota as it was when a token was asked for.

    :param holder: whose quota it is: ``agent`` or ``organization``.
    :param window: one of :data:`WINDOWS`.
    :param tokens: how many may be issued in the window.
    :param left: how many more could be, before this one.
    :param is_enforced: whether it refuses tokens.
    """

    holder: str
    window: str
    tokens: int
    left: int
    is_enforced: bool


def bounds(window: str, at: datetime) -> tuple[datetime, datetime]:
    """The first instant of the window that contains *at*, and that of the next one."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if window == "hour":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if window == "day":
        return day, day + timedelta(days=1)
    month = day.replace(day=1)
    return month, (month + timedelta(days=31)).replace(day=1)


def exhausted_at(used: int, tokens: int, begins: datetime, ends: datetime, at: datetime) -> datetime | None:
    """When a quota will have no token left, if as many are issued in a time as since its window began.

    :param used: tokens issued in the window so far.
    :param tokens: how many may be.
    :param begins: the window's first instant.
    :param ends: that of the next window.
    :param at: now, in the window.
    :returns: an instant before *ends*, *at* if nothing is left; ``None`` if the window ends first.
    """
    if used >= tokens:
        return at
    # A pace that is slow enough leads to an instant that no datetime can hold.
    if used == 0 or (at - begins) / (ends - begins) * (tokens / used) >= 1:
        return None
    return begins + (at - begins) * (tokens / used)


def read(text: str | None) -> list[Quota]:
    """The quotas in the column ``quotas`` of ``sql/oauth/issue_access_token.sql``: for each holder its name, the tokens
    of each window, negative if the quota is not enforced, and how many were left of each.
    """
    words, size, found = (text or "").split(), 1 + 2 * len(WINDOWS), []
    for start in range(0, len(words), size):
        holder, *numbers = words[start : start + size]
        for window, tokens, left in zip(WINDOWS, numbers[:3], numbers[3:], strict=True):
            if tokens != "-":
                limit = int(tokens)
                found.append(Quota(holder, window, abs(limit), max(int(left), 0), limit > 0))
    return found


def headers(quotas: list[Quota], at: datetime, *, is_issued: bool) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11) of the enforced quotas; nothing
    without one.

    :param at: when the token was asked for.
    :param is_issued: whether it was issued, so that one less is left.
    """
    enforced = [quota for quota in quotas if quota.is_enforced]
    if not enforced:
        return {}
    policies, limits = [], []
    for quota in enforced:
        begins, ends = bounds(quota.window, at)
        name = f'"{quota.holder}-{quota.window}"'
        policies.append(f"{name};q={quota.tokens};w={int((ends - begins).total_seconds())}")
        limits.append(f"{name};r={quota.left - is_issued};t={_seconds_until(ends, at)}")
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


def refusal(quotas: list[Quota], holder: str, window: str, at: datetime) -> QuotaExhausted:
    """The error of a token that a quota refuses: 429.

    :param holder: whose quota it is.
    :param window: of the quota.
    :param at: when the token was asked for.
    """
    [quota] = [quota for quota in quotas if (quota.holder, quota.window) == (holder, window)]
    _, ends = bounds(window, at)
    return QuotaExhausted(
        "temporarily_unavailable",
        f"the {holder}'s quota of {quota.tokens} tokens per {window} has been used; "
        f"the next {window} begins at {ends:%Y-%m-%dT%H:%M:%SZ}",
        status=429,
        headers={"Retry-After": str(_seconds_until(ends, at)), **headers(quotas, at, is_issued=False)},
    )


def _seconds_until(ends: datetime, at: datetime) -> int:
    return math.ceil((ends - at).total_seconds())
