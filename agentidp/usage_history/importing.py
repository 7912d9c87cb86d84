"""``agentidp usage import``: adds the records of a file to an organization's counters, all of them or none."""

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
from agentidp.usage_history.records import BadRecord, Reader, Source, csv_values, json_values

FORGET_SUMS = ("quotas/share_quotas", "quotas/lock_sums", "quotas/forget_sums")
"""What lets the sums of a month that quotas keep be made anew. Last, because a token that sums the days again waits for
it; and while no quota changes, because who changes several locks their rows in another order.
"""

FORMATS = {"csv": csv_values, "ndjson": json_values}

MAX_CELLS = 50_000
"""Hours of agents that are summed in memory before they go to the database."""

MAX_PROBLEMS = 20
"""Bad records that are reported. Reading stops there."""


class ImportRefused(Exception):
    """The file has bad records, and nothing was imported.

    :param problems: the line and the broken rule of the first of them.
    """

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {rule}" for line, rule in problems))
        self.problems = problems


@dataclass(slots=True)
class Imported:
    """What a file holds. ``repeats`` is when the same file was imported before: then nothing was added."""

    records: int = 0
    tokens: int = 0
    requests: int = 0
    rejected: int = 0
    first: datetime | None = None
    last: datetime | None = None
    repeats: datetime | None = None


class _TakeBack(Exception):
    """Rolls back what was added."""


def import_usage(
    database_url: str, organization_id: str, source: Source, *, file_format: str, at: datetime, is_dry_run: bool = False
) -> Imported:
    """Read records and add them to the counters of an organization that exists, in one transaction.

    Tokens that are issued meanwhile do not wait: the import counts in a slot of its own.

    :param database_url: as the operator.
    :param file_format: one of :data:`FORMATS`.
    :param at: now, aware.
    :param is_dry_run: check and sum the records, and add nothing.
    :raises ImportRefused: a record is bad, or an agent and hour would count more than an integer holds.
    """
    total = Imported()
    try:
        with connect(database_url) as connection, operator_transaction(connection, organization_id, at) as opened:
            for cells in _summed(source, file_format, _agents(opened), at, total):
                _add(opened, cells, total)
            _record(opened, source.digest, total)
            for statement in FORGET_SUMS:
                opened.fetch(statement)
            if is_dry_run or total.repeats:
                raise _TakeBack
    except _TakeBack:
        pass
    except psycopg.errors.NumericValueOutOfRange:
        message = "an agent or the organization would have more than 2,147,483,647 in one hour"
        raise ImportRefused([(source.line, message)]) from None
    return total


def _agents(opened: Transaction) -> dict[str, UUID]:
    """The ids of the organization's agents by id, and of those that are not deleted by name."""
    rows = opened.fetch("usage_history/agents")
    by_name = {row.name: row.agent_id for row in rows if not row.is_deleted}
    return by_name | {str(row.agent_id): row.agent_id for row in rows}


def _summed(
    source: Source, file_format: str, agents: dict[str, UUID], at: datetime, total: Imported
) -> Iterator[dict[UUID, Hours]]:
    """The sums of each agent and hour, as many at a time as fit into memory. *total* grows with each record.

    What is yielded is emptied for the next records.

    :raises ImportRefused: a record is bad.
    """
    problems: list[tuple[int, str]] = []
    sums: dict[UUID, Hours] = {agent_id: {} for agent_id in agents.values()}
    hours_of = {agent: sums[agent_id] for agent, agent_id in agents.items()}
    read, cells = Reader(at).read, 0
    # In one piece, because a function would be called for each of millions of records.
    try:
        for values in FORMATS[file_format](source):
            try:
                if isinstance(values, BadRecord):
                    raise values
                hour, agent, counts = read(values)
                hours = hours_of.get(agent)
                if hours is None:
                    raise BadRecord(f"the organization has no agent {agent[:100]!r}")
            except BadRecord as bad:
                problems.append((source.line, str(bad)))
                if len(problems) == MAX_PROBLEMS:
                    break
                continue
            total.records += 1
            cell = hours.get(hour)
            if cell is not None:
                cell[0] += counts[0]
                cell[1] += counts[1]
                cell[2] += counts[2]
                continue
            if cells == MAX_CELLS:
                yield sums
                cells = 0
                for each in sums.values():
                    each.clear()
            cells += 1
            hours[hour] = [*counts]
    except BadRecord as bad:
        problems.append((source.line, str(bad)))
    if problems:
        raise ImportRefused(problems)
    yield sums


def _add(opened: Transaction, sums: dict[UUID, Hours], total: Imported) -> None:
    """Add sums to the counters and to *total*."""
    add_usage(opened, sums)
    counts = [count for its_hours in sums.values() for count in its_hours.values()]
    for place, name in enumerate(COUNTS):
        setattr(total, name, getattr(total, name) + sum(count[place] for count in counts))
    if hours := [hour for its_hours in sums.values() for hour in its_hours]:
        first, last = EPOCH + min(hours) * AN_HOUR, EPOCH + max(hours) * AN_HOUR
        total.first = min(first, total.first or first)
        total.last = max(last, total.last or last)


def _record(opened: Transaction, digest: bytes, total: Imported) -> None:
    """Remember the file. ``total.repeats`` is set if it was imported before."""
    counts = {name: getattr(total, name) for name in ("records", *COUNTS)}
    [recorded] = opened.fetch("usage_history/record_import", digest=digest, **counts)
    if not recorded.is_new:
        total.repeats = recorded.imported_at
    audit.record(opened, "usage.imported", digest.hex(), after=counts)
