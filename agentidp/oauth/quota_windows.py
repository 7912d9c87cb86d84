"""Report quotas in token responses: the quota that refuses the token, and what is left of the enforced quotas.

``sql/functions/check_quotas.sql`` decides. A quota's window is the UTC hour, day or calendar month of the token.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agentidp.http.errors import OAuthError

WINDOWS = ("hour", "day", "month")


class QuotaExhausted(OAuthError):
    """A quota refuses the token (status 429)."""


class Quota(NamedTuple):
    """A quota, and the tokens that it had left before the requested token.

    :param holder: ``agent`` or ``organization``.
    :param window: one of :data:`WINDOWS`.
    :param tokens: maximum tokens in the window.
    :param tokens_left: tokens that can still be issued in the window, including the requested token.
    """

    holder: str
    window: str
    tokens: int
    tokens_left: int
    is_enforced: bool


def bounds(window: str, at: datetime) -> tuple[datetime, datetime]:
    """Return the start of the window that contains *at*, and the start of the next window."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if window == "hour":
        return hour, hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if window == "day":
        return day, day + timedelta(days=1)
    month = day.replace(day=1)
    return month, (month + timedelta(days=31)).replace(day=1)


def exhausted_at(used: int, tokens: int, begins: datetime, ends: datetime, at: datetime) -> datetime | None:
    """Return when a quota will have no token left at the window's average rate so far.

    :param used: tokens issued in the window so far.
    :param tokens: maximum tokens in the window.
    :returns: an instant before *ends*; *at* if nothing is left; ``None`` if the window ends first.
    """
    if used >= tokens:
        return at
    # The share is compared first, because few used tokens could give an instant after the latest datetime.
    if used == 0 or (at - begins) / (ends - begins) * (tokens / used) >= 1:
        return None
    return begins + (at - begins) * (tokens / used)


def read_quotas(column: str | None) -> list[Quota]:
    """Return the quotas in the column ``quotas`` of ``sql/oauth/issue_access_token.sql``.

    For each holder, the column has the holder's name, the maximum tokens per window (negative if the quota is not
    enforced), and the tokens left per window.
    """
    words, words_per_holder, quotas = (column or "").split(), 1 + 2 * len(WINDOWS), []
    for start in range(0, len(words), words_per_holder):
        holder, *numbers = words[start : start + words_per_holder]
        for window, tokens, tokens_left in zip(WINDOWS, numbers[:3], numbers[3:], strict=True):
            if tokens != "-":
                limit = int(tokens)
                quotas.append(Quota(holder, window, abs(limit), max(int(tokens_left), 0), limit > 0))
    return quotas


def headers(quotas: list[Quota], at: datetime, *, is_issued: bool) -> dict[str, str]:
    """Return the headers for the enforced quotas (draft-ietf-httpapi-ratelimit-headers-11)."""
    enforced = [quota for quota in quotas if quota.is_enforced]
    if not enforced:
        return {}
    policies, limits = [], []
    for quota in enforced:
        begins, ends = bounds(quota.window, at)
        name = f'"{quota.holder}-{quota.window}"'
        policies.append(f"{name};q={quota.tokens};w={int((ends - begins).total_seconds())}")
        limits.append(f"{name};r={quota.tokens_left - is_issued};t={_seconds_until(ends, at)}")
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


def refusal(quotas: list[Quota], holder: str, window: str, at: datetime) -> QuotaExhausted:
    """Return the error for a token that a quota refuses at *at*."""
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
