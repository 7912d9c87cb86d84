"""Stored sums of a month's complete days, so that reading a month of many agents need not add up every day.

``agentidp watch`` stores them. They are a cache: if they are missing or out of date, the days are read instead. Who
reads them compares the stored sum of all agents with the organization's counters of the same days, in one snapshot.
This is exact:

- each token is counted for its agent and for its organization in one transaction;
- a counter only grows, so if the organization's sum is the same, so is that of each agent. Tokens that are counted late
  or imported make it larger, and then the days are read until the sums are stored again;
- only deletion lowers a counter, and it deletes the month's sums in the same transaction.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg

from agentidp.db.organization import Transaction, operator_transaction


def store_sums(connection: psycopg.Connection[Any], organization_id: str, at: datetime) -> int:
    """Store an organization's sums of each month in which they are missing or differ, up to yesterday, each month in a
    transaction of its own.

    :param connection: the operator's.
    :param at: now, aware.
    :returns: how many months.
    """
    with operator_transaction(connection, organization_id, at) as opened:
        months = opened.fetch("usage_history/stale_months")
    for row in months:
        with operator_transaction(connection, organization_id, at) as opened:
            _wait_for_others(opened)
            opened.fetch("usage_history/sum_month", month=row.month, until=row.until)
    return len(months)


def delete_sums(opened: Transaction, day: date) -> None:
    """Delete the sums of the month of *day*, in the transaction that deletes the day's usage."""
    _wait_for_others(opened)
    opened.fetch("usage_history/delete_sums", on_day=day)


def _wait_for_others(opened: Transaction) -> None:
    """Until the transaction ends, no other one stores or deletes sums: they would be those of before a deletion."""
    opened.fetch("organizations/lock_organization")
