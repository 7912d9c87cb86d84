"""``agentidp usage prune``: deletes usage that is older than a number of calendar months."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from agentidp import audit
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.usage_history.monthly_sums import delete_sums

MIN_MONTHS = 4
"""The trend and the heatmap reach back 90 days, and most findings compare with up to 12 weeks before."""


def first_kept_day(months: int, at: datetime) -> date:
    """The first day of the oldest calendar month to keep, the current one being the first of *months*."""
    today = at.astimezone(UTC).date()
    month = today.year * 12 + today.month - months
    return date(month // 12, month % 12 + 1, 1)


def counted_days(database_url: str, organization_id: str, *, before: date, at: datetime) -> dict[date, int]:
    """The UTC days before *before* on which an organization has usage, oldest first, and their tokens.

    :param database_url: as the operator.
    :param at: now, aware.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as opened:
        return {row.day: row.tokens for row in opened.fetch("usage_history/days_before", before=before)}


def delete_days(database_url: str, organization_id: str, days: Iterable[date], *, before: date, at: datetime) -> None:
    """Delete an organization's usage of the UTC days before *before*, each in a transaction of its own: an interruption
    leaves whole days. What is going to be deleted is recorded with the first one.

    :param database_url: as the operator.
    :param days: the result of :func:`counted_days`.
    :param at: now, aware.
    """
    with connect(database_url) as connection:
        for index, day in enumerate(days):
            with operator_transaction(connection, organization_id, at) as opened:
                opened.fetch("usage_history/delete_day", on_day=day)
                delete_sums(opened, day)
                if index == 0:
                    period = {"from": day.isoformat(), "before": before.isoformat()}
                    audit.record(opened, "usage.pruned", organization_id, before=period)
