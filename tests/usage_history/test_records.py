"""The records in a file of past usage."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Any

import pytest

from agentidp.usage_history.records import (
    BUFFER_SIZE,
    EARLIEST,
    MAX_COUNT,
    BadRecord,
    Record,
    RecordConverter,
    Source,
    read_csv_values,
    read_json_values,
)
from tests.factories import NOON

AN_HOUR_AGO = "2026-04-15T11:30:00Z"
COUNT_RULE = f"must be a whole number from 0 to {MAX_COUNT}"
TIME_RULE = "must be a date and time with a time zone, after RFC 3339"


def read(
    time: Any = AN_HOUR_AGO, agent: Any = "a", tokens: Any = 1, requests: Any = None, rejected: Any = None
) -> Record:
    return RecordConverter(NOON).convert([time, agent, tokens, requests, rejected])


def hours_since_epoch(instant: datetime) -> int:
    return int(instant.timestamp()) // 3600


@pytest.mark.parametrize(
    "time",
    [
        "2026-04-14T23:59:59Z",
        "2026-04-14T23:00:00.123456789Z",
        "2026-04-14T23:00:00+00:00",
        "2026-04-15T01:15:00+02:00",
        "2026-04-14T18:30:00-05:00",
        "2026-04-15T05:15:00.5+05:45",
    ],
)
def test_the_hour_is_in_utc(time: str) -> None:
    converter = RecordConverter(NOON)
    # The second time, the hour comes from the cache.
    for _ in range(2):
        record = converter.convert([time, "a", 1, None, None])
        assert record.hour == hours_since_epoch(datetime(2026, 4, 14, 23, tzinfo=UTC))


def test_a_remembered_hour_is_only_that_of_times_in_utc() -> None:
    converter = RecordConverter(NOON)
    in_utc = converter.convert(["2026-04-14T23:10:00Z", "a", 1, None, None]).hour
    assert converter.convert(["2026-04-14T23:20:00+01:00", "a", 1, None, None]).hour == in_utc - 1
    for rest in ("", ":61:00Z", ":10:00", ":10:00Zx"):
        with pytest.raises(BadRecord, match=f"^time {TIME_RULE}$"):
            converter.convert([f"2026-04-14T23{rest}", "a", 1, None, None])


def test_requests_are_as_many_as_tokens_and_rejections_none() -> None:
    assert read(tokens="7").counts == (7, 7, 0)
    assert read(tokens="7", requests="", rejected="").counts == (7, 7, 0)
    assert read(tokens=7, requests=9, rejected=2).counts == (7, 9, 2)
    assert read(tokens=0, requests=MAX_COUNT, rejected=MAX_COUNT).counts == (0, MAX_COUNT, MAX_COUNT)


@pytest.mark.parametrize(
    ("field", "values", "rule"),
    [
        (
            "tokens",
            ["-1", "1.5", " 1", "1_0", "٣", "", None, True, 1.0, [1], MAX_COUNT + 1, str(MAX_COUNT + 1)],
            COUNT_RULE,
        ),
        ("requests", ["x", -1], COUNT_RULE),
        ("requests", [0], "must not be less than tokens"),
        ("rejected", ["x", -1], COUNT_RULE),
        ("time", ["2026-04-14", "2026-04-14T23:00:00", "2026-04-14 23:00:00Z", "2026-02-30T00:00:00Z", "x"], TIME_RULE),
        ("time", ["2026-04-14T24:00:00Z", "2026-04-14T23:00:00Z\n", "2026-04-14T23:00:00+25:00"], TIME_RULE),
        ("time", [None, 5], f"is missing: it {TIME_RULE}"),
        (
            "time",
            ["2026-04-15T13:00:00Z", "2026-04-15T14:00:00+01:00", "1999-12-31T23:59:59Z"],
            "must be from 2000-01-01 to now",
        ),
        ("agent", ["", None, 5], "is missing"),
    ],
)
def test_a_record_that_is_no_good(field: str, values: list[Any], rule: str) -> None:
    # Valid counts are cached, and 1 == True.
    assert read(tokens=1).counts == (1, 1, 0)
    for value in values:
        with pytest.raises(BadRecord) as refused:
            read(**{field: value})
        assert str(refused.value).startswith(f"{field} {rule}")


def test_the_first_and_the_last_instant_of_a_record() -> None:
    assert read(NOON.isoformat()).hour == hours_since_epoch(NOON)
    assert read(EARLIEST.isoformat()).hour == hours_since_epoch(EARLIEST)


def values(lines: list[str], kind: Any = read_csv_values) -> list[Any]:
    records = list(kind(source(*lines)))
    return [str(record) if isinstance(record, BadRecord) else list(record) for record in records]


def source(*lines: str | bytes) -> Source:
    return Source(io.BytesIO(b"".join(line.encode() if isinstance(line, str) else line for line in lines)))


def test_csv_has_its_columns_in_any_order() -> None:
    lines = ["\ufefftokens,time,agent\r\n", '1,t,"a, ""b"""\r\n', "\r\n", "2,u\r\n", "3,v,c\r\n"]
    assert values(lines) == [
        ["t", 'a, "b"', "1", None, None],
        "has 2 fields, and the first line has 3",
        ["v", "c", "3", None, None],
    ]


@pytest.mark.parametrize("header", ["", "time,agent", "time,agent,tokens,request", "time,agent,tokens,tokens"])
def test_a_first_line_that_is_no_good(header: str) -> None:
    with pytest.raises(
        BadRecord, match=r"^the first line must name time, agent, tokens, and may name requests and rejected"
    ):
        values([header])


def test_what_is_not_csv() -> None:
    with pytest.raises(BadRecord, match=r"^is not CSV: "):
        values(["time,agent,tokens\n", '"a"b,c,d\n'])


@pytest.mark.parametrize("kind", [read_csv_values, read_json_values])
def test_a_line_that_is_not_utf_8_is_named(kind: Any) -> None:
    file = source("time,agent,tokens\n" if kind is read_csv_values else "{}\n", "\n", b"\xff\n", "\n")
    with pytest.raises(BadRecord, match=r"^is not UTF-8$"):
        list(kind(file))
    assert file.line == 3


def test_ndjson() -> None:
    lines = ['{"time": "t", "agent": "a", "tokens": 1}\n', "\n", "[]\n", "{\n", '{"token": 1}\n', '{"rejected": 2}']
    assert values(lines, read_json_values) == [
        ["t", "a", 1, None, None],
        "is not a JSON object",
        "is not JSON",
        "has the unknown member 'token'",
        [None, None, None, None, 2],
    ]


def test_what_was_read_is_counted_and_digested() -> None:
    lengths: list[int] = []
    content = b"a\n" * BUFFER_SIZE + b"bc"
    source = Source(io.BytesIO(content), lengths.append)
    lines = list(source.decode_lines())
    assert (len(lines), lines[-1]) == (BUFFER_SIZE + 1, "bc")
    assert (len(lengths), sum(lengths)) == (3, len(content))
    assert source.digest == hashlib.sha256(content).digest()
