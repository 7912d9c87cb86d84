"""Writes usage in the format of ``agentidp usage import``, for ``agentidp usage export``."""

from __future__ import annotations

from datetime import date, datetime
from typing import BinaryIO

import psycopg

from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import load_sql

_STATEMENTS = {"csv": "usage_history/export_csv", "ndjson": "usage_history/export_ndjson"}


def export_usage(
    database_url: str, organization_id: str, out: BinaryIO, *, file_format: str, first: date, last: date, at: datetime
) -> None:
    """Write an organization's usage from the day *first* to *last*, one record per agent and UTC hour, oldest first.

    :param database_url: the database's URL, with the operator's role.
    :param file_format: ``csv`` or ``ndjson``.
    """
    statement_parameters = {"organization_id": organization_id, "first": first, "last": last}
    statement = load_sql(_STATEMENTS[file_format])
    with (
        connect(database_url) as connection,
        operator_transaction(connection, organization_id, at),
        # COPY accepts no bound parameters, so ClientCursor writes them into the statement.
        psycopg.ClientCursor(connection) as cursor,
        cursor.copy(statement, statement_parameters) as copy_stream,
    ):
        for data_block in copy_stream:
            out.write(data_block)
