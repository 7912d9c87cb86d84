"""A file of past usage, as CSV or NDJSON: one record a line, of one agent at one instant."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

REQUIRED = ("time", "agent", "tokens")
OPTIONAL = ("requests", "rejected")

MAX_COUNT = 1_000_000_000
"""Of one record. The counters hold twice as much for an agent and hour."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|\+00:00)")
_OTHER_ZONE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?[+-][0-9]{2}:[0-5][0-9]"
)
_NUMBER = re.compile(r"[0-9]{1,10}")


class BadRecord(Exception):
    """A record breaks a rule. Its text names the field and the rule."""


class Record(NamedTuple):
    """The usage of an agent in a UTC hour. ``agent`` is its id or name, as the file has it."""

    hour: datetime
    agent: str
    tokens: int
    requests: int
    rejected: int


class Source:
    """The lines of a file, counted and digested while they are read.

    :param lines: the file's lines, in bytes.
    :param on_read: gets the length of each line in bytes.
    """

    def __init__(self, lines: Iterable[bytes], on_read: Callable[[int], None] | None = None) -> None:
        self.line = 0
        self._lines, self._on_read = lines, on_read
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was read so far."""
        return self._digest.digest()

    def __iter__(self) -> Iterator[str]:
        for raw in self._lines:
            self.line += 1
            self._digest.update(raw)
            if self._on_read:
                self._on_read(len(raw))
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                raise BadRecord("is not UTF-8") from None
            yield text.removeprefix("\ufeff") if self.line == 1 else text


def csv_values(source: Source) -> Iterator[list[Any] | BadRecord]:
    """The values of each record of a CSV file with a header, in the order of :data:`REQUIRED` and :data:`OPTIONAL`.

    :returns: a record's values, or what is wrong with it: the next record can still be read.
    :raises BadRecord: the header lacks a field or has an unknown one, or the rest is not CSV.
    """
    rows = csv.reader(iter(source), strict=True)
    try:
        header = next(rows, [])
        known = {*REQUIRED, *OPTIONAL}
        if not {*REQUIRED} <= {*header} <= known or len({*header}) < len(header):
            fields = f"{', '.join(REQUIRED)}, and may name {' and '.join(OPTIONAL)}"
            raise BadRecord(f"the first line must name {fields}, each once")
        places = [header.index(name) if name in header else None for name in REQUIRED + OPTIONAL]
        for row in rows:
            if len(row) == len(header):
                yield [None if place is None else row[place] for place in places]
            elif row:
                yield BadRecord(f"has {len(row)} fields, and the first line has {len(header)}")
    except csv.Error as error:
        raise BadRecord(f"is not CSV: {error}") from None


def json_values(source: Source) -> Iterator[list[Any] | BadRecord]:
    """The values of each record of an NDJSON file, likewise. Blank lines are left out."""
    for line in source:
        if not line.isspace():
            yield _members(line)


def _members(line: str) -> list[Any] | BadRecord:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return BadRecord("is not JSON")
    if not isinstance(found, dict):
        return BadRecord("is not a JSON object")
    if unknown := found.keys() - {*REQUIRED, *OPTIONAL}:
        return BadRecord(f"has the unknown member {min(unknown)!r}")
    return [found.get(name) for name in REQUIRED + OPTIONAL]


class Reader:
    """Turns a record's values into a :class:`Record`. It remembers the hours that it has parsed.

    :param at: now: no record may be later.
    """

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._hours: dict[str, datetime] = {}

    def read(self, values: list[Any]) -> Record:
        """Check the values of one record.

        :raises BadRecord: a value breaks a rule.
        """
        time, agent, tokens, requests, rejected = values
        if not isinstance(agent, str) or not agent:
            raise BadRecord("agent is missing: it must be an agent's id or name")
        tokens = _count("tokens", tokens)
        requests = tokens if requests in (None, "") else _count("requests", requests)
        rejected = 0 if rejected in (None, "") else _count("rejected", rejected)
        if requests < tokens:
            raise BadRecord("requests must not be less than tokens: a token is a request, too")
        return Record(self._hour(time), agent, tokens, requests, rejected)

    def _hour(self, time: Any) -> datetime:
        if not isinstance(time, str):
            raise BadRecord("time is missing: it must be a date and time with a time zone, after RFC 3339")
        if in_utc := _UTC.fullmatch(time):
            text = in_utc[1]
            hour = self._hours.get(text)
            if hour is None:
                hour = self._hours[text] = self._checked(f"{text}:00:00+00:00")
            return hour
        if not _OTHER_ZONE.fullmatch(time):
            raise BadRecord("time must be a date and time with a time zone, after RFC 3339")
        return self._checked(time)

    def _checked(self, text: str) -> datetime:
        try:
            hour = datetime.fromisoformat(text).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        except (ValueError, OverflowError):
            raise BadRecord("time must be a date and time with a time zone, after RFC 3339") from None
        if not EARLIEST <= hour <= self._at:
            raise BadRecord(f"time must be from {EARLIEST:%Y-%m-%d} to now")
        return hour


def _count(name: str, value: Any) -> int:
    """A JSON number, or digits as CSV has them."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise BadRecord(f"{name} must be a whole number from 0 to {MAX_COUNT}")
    return value
