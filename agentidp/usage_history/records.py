"""Reads files of past usage in CSV or NDJSON. Each record is the usage of an agent in an hour."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, BinaryIO, NamedTuple

from agentidp.usage_history.adding import AN_HOUR, EPOCH

REQUIRED = ("time", "agent", "tokens")
OPTIONAL = ("requests", "rejected")

MAX_COUNT = 1_000_000_000
"""Maximum number of tokens, requests or rejections in a record. A counter can store about twice as much."""

BUFFER_SIZE = 1 << 20  # size of the read buffer in bytes
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
HOUR_LENGTH = len("2026-04-01T09")  # number of characters of the date and hour, with which a time begins

_WITHIN_HOUR = r":[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_REST_IN_UTC = re.compile(rf"{_WITHIN_HOUR}(?:Z|\+00:00)")
_TIME = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}{_WITHIN_HOUR}(?:Z|[+-][0-9]{{2}}:[0-5][0-9])")
_NUMBER = re.compile(r"[0-9]{1,10}")


class BadRecord(Exception):
    """A record breaks a rule. The message contains the rule and, if only one field breaks it, the field."""


Counts = tuple[int, int, int]
"""Numbers of tokens, requests and rejected requests."""


class Record(NamedTuple):
    """The usage of an agent in a UTC hour."""

    hour: int  # the number of hours since EPOCH
    agent: str  # the agent's ID or name
    counts: Counts


class Source(io.RawIOBase):
    """A file of usage that computes its SHA-256 while its lines are read.

    :param file: a file that is open for reading bytes.
    :param on_read: called after each read with the number of bytes of this read; None for no call.
    """

    def __init__(self, file: BinaryIO, on_read: Callable[[int], None] | None = None) -> None:
        self.line = 0  # the line number of the last record, counted from 1
        self._file, self._on_read = file, on_read
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of the bytes that have been read so far."""
        return self._hash.digest()

    def decode_lines(self) -> Iterator[str]:
        """Yield the lines of the file as text, without a byte order mark.

        :raises UnicodeDecodeError: a line is not UTF-8.
        """
        lines = io.BufferedReader(self, BUFFER_SIZE)
        first_line = lines.readline()
        if first_line:
            yield first_line.decode("utf-8-sig")
        yield from map(bytes.decode, lines)

    def readable(self) -> bool:
        """Return True, because :class:`io.BufferedReader` requires a readable file."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read up to ``len(buffer)`` bytes of the file into *buffer*, and return the number of bytes read."""
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._hash.update(block)
        if self._on_read and block:
            self._on_read(len(block))
        return len(block)


Values = Sequence[Any]
"""The values of a record's fields, first :data:`REQUIRED` and then :data:`OPTIONAL`. Missing values are None."""


def read_csv_values(source: Source) -> Iterator[Values | BadRecord]:
    """Yield the values of each record in a CSV file, or a :class:`BadRecord` if the number of fields is wrong.

    :raises BadRecord: the header lacks a field or has an unknown field, or the file is not CSV in UTF-8.
    """
    csv_reader = csv.reader(source.decode_lines(), strict=True)
    try:
        header = next(csv_reader, [])
        source.line = csv_reader.line_num
        if not {*REQUIRED} <= {*header} <= {*REQUIRED, *OPTIONAL} or len({*header}) < len(header):
            required_names, optional_names = ", ".join(REQUIRED), " and ".join(OPTIONAL)
            raise BadRecord(f"the first line must name {required_names}, and may name {optional_names}, each once")
        # An optional field that the header lacks gets the index -1, because None is appended to each row.
        select_values = itemgetter(
            *(header.index(field_name) if field_name in header else -1 for field_name in REQUIRED + OPTIONAL)
        )
        for csv_row in csv_reader:
            source.line = csv_reader.line_num
            if len(csv_row) == len(header):
                csv_row.append(None)  # type: ignore[arg-type]
                yield select_values(csv_row)
            elif csv_row:
                yield BadRecord(f"has {len(csv_row)} fields, and the first line has {len(header)}")
    except csv.Error as error:
        source.line = csv_reader.line_num
        raise BadRecord(f"is not CSV: {error}") from None
    except UnicodeDecodeError:
        source.line = csv_reader.line_num + 1
        raise BadRecord("is not UTF-8") from None


def read_json_values(source: Source) -> Iterator[Values | BadRecord]:
    """Yield, per line of an NDJSON file except blank lines, a record's values, or a :class:`BadRecord`."""
    try:
        for line in source.decode_lines():
            source.line += 1
            if not line.isspace():
                yield _parse_json(line)
    except UnicodeDecodeError:
        source.line += 1
        raise BadRecord("is not UTF-8") from None


def _parse_json(line: str) -> Values | BadRecord:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return BadRecord("is not JSON")
    if not isinstance(members, dict):
        return BadRecord("is not a JSON object")
    if unknown_names := members.keys() - {*REQUIRED, *OPTIONAL}:
        return BadRecord(f"has the unknown member {min(unknown_names)!r}")
    return [members.get(member_name) for member_name in REQUIRED + OPTIONAL]


class RecordConverter:
    """Checks and converts the values of records. Records of hours after *at* are refused."""

    def __init__(self, at: datetime) -> None:
        self._earliest, self._latest = ((bound - EPOCH) // AN_HOUR for bound in (EARLIEST, at))
        self._hours: dict[str, int] = {}

    def convert(self, values: Values) -> Record:
        """Return the record for the values of its fields, or raise :class:`BadRecord` if a value breaks a rule."""
        time, id_or_name, tokens, requests, rejected = values
        if not isinstance(id_or_name, str) or not id_or_name:
            raise BadRecord("agent is missing: it must be an agent's id or name")
        try:
            counts = _parse_counts(tokens, requests, rejected)
        except TypeError:
            # JSON arrays and objects cannot be keys of the cache, so the function is called without its cache.
            counts = _parse_counts.__wrapped__(tokens, requests, rejected)
        return Record(self._parse_hour(time), id_or_name, counts)

    def _parse_hour(self, time: Any) -> int:
        if not isinstance(time, str):
            raise BadRecord("time is missing: it must be a date and time with a time zone, after RFC 3339")
        is_in_utc = _REST_IN_UTC.fullmatch(time, HOUR_LENGTH)
        if is_in_utc and (cached_hour := self._hours.get(time[:HOUR_LENGTH])) is not None:
            return cached_hour
        try:
            instant = datetime.fromisoformat(time).astimezone(UTC) if _TIME.fullmatch(time) else None
        except (ValueError, OverflowError):
            instant = None
        if instant is None:
            raise BadRecord("time must be a date and time with a time zone, after RFC 3339")
        hour = (instant - EPOCH) // AN_HOUR
        if not self._earliest <= hour <= self._latest:
            raise BadRecord(f"time must be from {EARLIEST:%Y-%m-%d} to now")
        if is_in_utc:
            self._hours[time[:HOUR_LENGTH]] = hour
        return hour


@lru_cache(10_000, typed=True)
def _parse_counts(tokens: Any, requests: Any, rejected: Any) -> Counts:
    tokens = _parse_count("tokens", tokens)
    requests = tokens if requests in (None, "") else _parse_count("requests", requests)
    rejected = 0 if rejected in (None, "") else _parse_count("rejected", rejected)
    if requests < tokens:
        raise BadRecord("requests must not be less than tokens: a token is a request, too")
    return tokens, requests, rejected


def _parse_count(name: str, value: Any) -> int:
    """Return a count from a JSON number or from the digits in a CSV field, or raise :class:`BadRecord`."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise BadRecord(f"{name} must be a whole number from 0 to {MAX_COUNT}")
    return value
