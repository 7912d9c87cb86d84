"""Report quotas in token responses: the quota that refuses the token, and what is left of the enforced quotas."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from agentidp.http.errors import OAuthError

WINDOWS = ("hour", "day", "month")


class QuotaExhausted(OAuthError):
    """A quota refuses the token (status 429)."""


class Quota(NamedTuple):
    """A quota of an ``agent`` or ``organization``, and the tokens that it had left before the requested token.

    :param window: the UTC ``hour``, ``day`` or calendar ``month`` of the token.
    :param tokens: maximum tokens in the window.
    :param tokens_left: tokens that can still be issued in the window, including the requested token.
    """

    holder: str
    window: str
    tokens: int
    tokens_left: int
    is_enforced: bool


def find_window_bounds(window: str, at: datetime) -> tuple[datetime, datetime]:
    """Return the start of the window that contains *at*, and the start of the next window."""
    hour_start = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if window == "hour":
        return hour_start, hour_start + timedelta(hours=1)
    day_start = hour_start.replace(hour=0)
    if window == "day":
        return day_start, day_start + timedelta(days=1)
    month_start = day_start.replace(day=1)
    return month_start, (month_start + timedelta(days=31)).replace(day=1)


def predict_exhaustion(used: int, limit: int, start: datetime, end: datetime, at: datetime) -> datetime | None:
    """Return when a quota will be used up at the average rate so far, or ``None`` if the window ends first.

    :param used: tokens issued so far in the window from *start* to *end*, with at most *limit* tokens.
    """
    if used >= limit:
        return at
    # Shares of the window are compared, because adding a long time to *start* could exceed the latest datetime.
    if used == 0 or (at - start) / (end - start) * (limit / used) >= 1:
        return None
    return start + (at - start) * (limit / used)


def read_quotas(quotas_column: str | None) -> list[Quota]:
    """Return the quotas in the column ``quotas`` of ``sql/oauth/issue_access_token.sql``; null means no quotas."""
    # A holder has seven fields: its name, a limit per window (negative if not enforced), and tokens left per window.
    quota_fields, fields_per_holder, quotas = (quotas_column or "").split(), 1 + 2 * len(WINDOWS), []
    for first_field_index in range(0, len(quota_fields), fields_per_holder):
        holder, *window_fields = quota_fields[first_field_index : first_field_index + fields_per_holder]
        for window, limit_text, tokens_left in zip(WINDOWS, window_fields[:3], window_fields[3:], strict=True):
            if limit_text != "-":
                limit = int(limit_text)
                quotas.append(Quota(holder, window, abs(limit), max(int(tokens_left), 0), is_enforced=limit > 0))
    return quotas


def build_quota_headers(quotas: list[Quota], at: datetime, *, is_issued: bool) -> dict[str, str]:
    """Return the headers about enforced quotas (draft-ietf-httpapi-ratelimit-headers-11).

    :param is_issued: whether the token was issued, so that each quota has one token less than in *quotas*.
    """
    enforced_quotas = [quota for quota in quotas if quota.is_enforced]
    if not enforced_quotas:
        return {}
    policy_values, limit_values = [], []
    for quota in enforced_quotas:
        window_start, window_end = find_window_bounds(quota.window, at)
        quoted_name = f'"{quota.holder}-{quota.window}"'
        policy_values.append(f"{quoted_name};q={quota.tokens};w={int((window_end - window_start).total_seconds())}")
        limit_values.append(f"{quoted_name};r={quota.tokens_left - is_issued};t={_count_seconds(window_end, at)}")
    return {"RateLimit-Policy": ", ".join(policy_values), "RateLimit": ", ".join(limit_values)}


def build_quota_error(quotas: list[Quota], holder: str, window: str, at: datetime) -> QuotaExhausted:
    """Return the error for a token that a quota refuses at *at*."""
    [quota] = [quota for quota in quotas if (quota.holder, quota.window) == (holder, window)]
    _, window_end = find_window_bounds(window, at)
    return QuotaExhausted(
        "temporarily_unavailable",
        f"the {holder}'s quota of {quota.tokens} tokens per {window} has been used; "
        f"the next {window} begins at {window_end:%Y-%m-%dT%H:%M:%SZ}",
        status=429,
        headers={
            "Retry-After": str(_count_seconds(window_end, at)),
            **build_quota_headers(quotas, at, is_issued=False),
        },
    )


def _count_seconds(end: datetime, at: datetime) -> int:
    return math.ceil((end - at).total_seconds())
