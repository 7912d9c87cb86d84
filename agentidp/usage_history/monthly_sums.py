"""Stores the sums of a month's complete days, so that reading a month of many agents need not add up every day.

``agentidp watch`` stores the sums as a cache. Readers compare the stored sum of all agents with the organization's
counters of the same days, in one snapshot. If the sums are missing or differ, the days are read instead.

Sums that pass this comparison are exact:

- Each token is counted for its agent and its organization in the same transaction.
- Counters only increase. If the organization's sum is unchanged, so is the sum of each agent. Late or imported tokens
  increase the organization's counters, so the days are read until the sums are stored again.
- Only deletion decreases a counter, and deletes the month's sums in the same transaction.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg

from agentidp.db.organization import Transaction, operator_transaction


def store_sums(connection: psycopg.Connection[Any], organization_id: str, at: datetime) -> int:
    """Store the missing and stale monthly sums of an organization, including this month until yesterday.

    :param connection: a connection with the operator's role.
    :param at: the current time, with time zone.
    :returns: the number of months whose sums were stored.
    """
    with operator_transaction(connection, organization_id, at) as transaction:
        month_rows = transaction.fetch("usage_history/stale_months")
    for month_row in month_rows:
        with operator_transaction(connection, organization_id, at) as transaction:
            _block_other_changes(transaction)
            transaction.fetch("usage_history/sum_month", month=month_row.month, until=month_row.until)
    return len(month_rows)


def delete_sums(transaction: Transaction, day: date) -> None:
    """Delete the stored sums of the month that contains *day*. Call this in the transaction that deletes usage."""
    _block_other_changes(transaction)
    transaction.fetch("usage_history/delete_sums", on_day=day)


def _block_other_changes(transaction: Transaction) -> None:
    """Keep other transactions from changing the organization's monthly sums until this transaction ends."""
    transaction.fetch("organizations/lock_organization")
