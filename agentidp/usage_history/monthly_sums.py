"""Stores the sums of a month's complete days, so that reading a month of many agents need not add up every day.

``agentidp watch`` stores the sums as a cache. Readers compare the stored sum of all agents with the organization's
counters of the same days, in one snapshot. If the sums are missing or differ, the days are read instead.

Sums that pass this comparison are exact. Each token is counted for its agent and its organization in one transaction,
and counters only increase, so an unchanged sum of the organization means unchanged sums of its agents. A deletion of
usage, which decreases counters, also deletes the month's sums.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg

from agentidp.db.organization import Transaction, operator_transaction


def store_sums(connection: psycopg.Connection[Any], organization_id: str, at: datetime) -> int:
    """Store the missing and stale monthly sums of an organization, and return the number of stored months.

    :param connection: a connection with the operator's role.
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
