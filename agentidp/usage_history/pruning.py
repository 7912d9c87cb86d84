"""Deletes usage that is older than a number of calendar months, for ``agentidp usage prune``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

from agentidp import audit
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.usage_history.monthly_sums import delete_sums

MIN_MONTHS = 4
"""Minimum number of months to keep, because the trend, the heatmap and findings read the usage of about 90 days."""


def find_first_kept_day(months: int, at: datetime) -> date:
    """Return the first day that is kept if *months* calendar months are kept, including the current month."""
    today = at.astimezone(UTC).date()
    month_number = today.year * 12 + today.month - months
    return date(month_number // 12, month_number % 12 + 1, 1)


def count_tokens_by_day(database_url: str, organization_id: str, *, first_kept: date, at: datetime) -> dict[date, int]:
    """Return the number of tokens by UTC day, for days with usage before *first_kept*, oldest day first.

    :param database_url: the database's URL, with the operator's role.
    """
    with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
        return {row.day: row.tokens for row in transaction.fetch("usage_history/days_before", before=first_kept)}


def delete_days(
    database_url: str, organization_id: str, days: Iterable[date], *, first_kept: date, at: datetime
) -> None:
    """Delete an organization's usage on *days*, oldest first, one transaction per day.

    :param database_url: the database's URL, with the operator's role.
    :param first_kept: the first UTC day that is kept, for the audit event.
    """
    with connect(database_url) as connection:
        for day_index, day in enumerate(days):
            with operator_transaction(connection, organization_id, at) as transaction:
                transaction.fetch("usage_history/delete_day", on_day=day)
                delete_sums(transaction, day)
                if day_index == 0:
                    deleted_period = {"from": day.isoformat(), "before": first_kept.isoformat()}
                    audit.record(transaction, "usage.pruned", organization_id, before=deleted_period)
