"""Adds the records of a file to an organization's counters, all or none, for ``agentidp usage import``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg

from agentidp import audit
from agentidp.db.database import connect
from agentidp.db.organization import Transaction, operator_transaction
from agentidp.usage_history.adding import AN_HOUR, COUNTS, EPOCH, Hours, add_usage
from agentidp.usage_history.records import BadRecord, RecordConverter, Source, read_csv_values, read_json_values

# The first statement blocks changes of quotas, because a change could lock the same rows in another order (deadlock).
FORGET_SUMS = ("quotas/share_quotas", "quotas/lock_sums", "quotas/forget_sums")
"""The statements that mark the stored sums of monthly quotas as stale, because an import changes these sums."""

FORMATS = {"csv": read_csv_values, "ndjson": read_json_values}

MAX_SUMS = 50_000
"""Maximum number of sums in memory, one per agent and hour, before the import writes the sums to the database."""

MAX_PROBLEMS = 20
"""Maximum number of bad records that are reported. The import then stops reading the file."""


class ImportRefused(Exception):
    """The file has bad records, so nothing was imported. *problems* are their line numbers and broken rules."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line_number}: {broken_rule}" for line_number, broken_rule in problems))
        self.problems = problems


@dataclass(slots=True)
class Imported:
    """The sums of an imported file. ``repeats`` is the time of an earlier import of the same file, or None."""

    records: int = 0
    tokens: int = 0
    requests: int = 0
    rejected: int = 0
    first: datetime | None = None
    last: datetime | None = None
    repeats: datetime | None = None


def import_usage(
    database_url: str, organization_id: str, source: Source, *, file_format: str, at: datetime, is_dry_run: bool = False
) -> Imported:
    """Add the records of a file to the counters of an existing organization, in one transaction.

    :param database_url: the database's URL, with the operator's role.
    :param file_format: one of :data:`FORMATS`.
    :param is_dry_run: check and sum the records without adding them.
    :raises ImportRefused: a record is bad, or a counter of one hour would exceed PostgreSQL's integer.
    """
    import_total = Imported()
    try:
        with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as transaction:
            for sums_by_agent in _sum_records(source, file_format, _read_agent_ids(transaction), at, import_total):
                _add_sums(transaction, sums_by_agent, import_total)
            _record_import(transaction, source.digest, import_total)
            # These statements run last, because token requests wait for the commit from then on.
            for statement_name in FORGET_SUMS:
                transaction.fetch(statement_name)
            if is_dry_run or import_total.repeats:
                raise psycopg.Rollback
    except psycopg.errors.NumericValueOutOfRange:
        message = "an agent or the organization would have more than 2,147,483,647 in one hour"
        raise ImportRefused([(source.line, message)]) from None
    return import_total


def _read_agent_ids(transaction: Transaction) -> dict[str, UUID]:
    """Return the ID of each agent by its ID and, unless the agent is deleted, also by its name."""
    agent_rows = transaction.fetch("usage_history/agents")
    ids_by_name = {agent_row.name: agent_row.agent_id for agent_row in agent_rows if not agent_row.is_deleted}
    return ids_by_name | {str(agent_row.agent_id): agent_row.agent_id for agent_row in agent_rows}


def _sum_records(
    source: Source, file_format: str, agent_ids: dict[str, UUID], at: datetime, total: Imported
) -> Iterator[dict[UUID, Hours]]:
    """Yield the sums of the records per agent and hour, and count the records in *total*.

    At most :data:`MAX_SUMS` sums are yielded at a time. The same dictionary is yielded each time, with new sums.

    :param agent_ids: the IDs of agents, by the ID or name in the file.
    :raises ImportRefused: a record is bad.
    """
    problems: list[tuple[int, str]] = []
    sums_by_agent: dict[UUID, Hours] = {agent_id: {} for agent_id in agent_ids.values()}
    sums_by_id_or_name = {id_or_name: sums_by_agent[agent_id] for id_or_name, agent_id in agent_ids.items()}
    convert_values, sum_count = RecordConverter(at).convert, 0
    # This loop is not split into functions, because one more function call per record would slow down large imports.
    try:
        for record_values in FORMATS[file_format](source):
            try:
                if isinstance(record_values, BadRecord):
                    raise record_values
                hour, id_or_name, record_counts = convert_values(record_values)
                sums_by_hour = sums_by_id_or_name.get(id_or_name)
                if sums_by_hour is None:
                    raise BadRecord(f"the organization has no agent {id_or_name[:100]!r}")
            except BadRecord as error:
                problems.append((source.line, str(error)))
                if len(problems) == MAX_PROBLEMS:
                    break
                continue
            total.records += 1
            hour_sums = sums_by_hour.get(hour)
            if hour_sums is not None:
                hour_sums[0] += record_counts[0]
                hour_sums[1] += record_counts[1]
                hour_sums[2] += record_counts[2]
                continue
            if sum_count == MAX_SUMS:
                yield sums_by_agent
                sum_count = 0
                for agent_hours in sums_by_agent.values():
                    agent_hours.clear()
            sum_count += 1
            sums_by_hour[hour] = [*record_counts]
    except BadRecord as error:
        problems.append((source.line, str(error)))
    if problems:
        raise ImportRefused(problems)
    yield sums_by_agent


def _add_sums(transaction: Transaction, sums_by_agent: dict[UUID, Hours], total: Imported) -> None:
    add_usage(transaction, sums_by_agent)
    counts_per_hour = [counts for agent_hours in sums_by_agent.values() for counts in agent_hours.values()]
    for count_index, count_name in enumerate(COUNTS):
        setattr(total, count_name, getattr(total, count_name) + sum(counts[count_index] for counts in counts_per_hour))
    if all_hours := [hour for agent_hours in sums_by_agent.values() for hour in agent_hours]:
        first_hour, last_hour = EPOCH + min(all_hours) * AN_HOUR, EPOCH + max(all_hours) * AN_HOUR
        total.first = min(first_hour, total.first or first_hour)
        total.last = max(last_hour, total.last or last_hour)


def _record_import(transaction: Transaction, digest: bytes, total: Imported) -> None:
    """Record the import of the file, and set ``total.repeats`` if the file was imported before."""
    total_counts = {count_name: getattr(total, count_name) for count_name in ("records", *COUNTS)}
    [import_row] = transaction.fetch("usage_history/record_import", digest=digest, **total_counts)
    if not import_row.is_new:
        total.repeats = import_row.imported_at
    audit.record(transaction, "usage.imported", digest.hex(), after=total_counts)
