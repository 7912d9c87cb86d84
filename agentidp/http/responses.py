"""Responses in compact JSON, and in JSON, CSV or NDJSON with an ETag for analytics and the audit trail."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import marshmallow as ma
from flask import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from agentidp.http.request_context import current_context, current_request

# check_circular would take a sixth of the encoding time, and no body contains itself.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
BLOCK = 250
"""Maximum number of rows that are encoded or freed without letting other threads of the process run."""

_CSV = "text/csv; charset=utf-8; header=present"
_CSV_ACCEPTED = ("text/csv", "text/csv;charset=utf-8", "text/csv;charset=utf-8;header=present")
_NDJSON = "application/x-ndjson"
_FORMATS = {ma.fields.Integer: "%s", ma.fields.UUID: '"%s"', ma.fields.Date: '"%s"'}
# A spreadsheet's formula can begin with these characters. The last four are full-width characters.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a compact JSON response."""
    return Response(_encode(body).encode(), status, {"Content-Type": "application/json", **(headers or {})})


def take_blocks(rows: list[Any]) -> Iterator[list[Any]]:
    """Yield the rows in blocks, and remove each block from *rows*, because freeing all rows at once can take 50 ms."""
    while rows:
        yield rows[:BLOCK]
        del rows[:BLOCK]


def data_response(
    body: dict[str, Any], item: type[ma.Schema], represent: Callable[[Any], Any] = lambda row: row
) -> Response:
    """Return a response in JSON or, if the request's ``Accept`` prefers it, the rows as CSV (RFC 4180) or NDJSON.

    If the request's ``If-None-Match`` has the content's ETag, return 304 instead (RFC 9110 section 13.1.2).

    :param body: the JSON body, whose list ``data`` this function empties. Its rows are objects. If all fields of *item*
        are integers, IDs and dates, rows can be tuples in the order of the fields. Tuples are encoded in half the time.
    :param item: the schema of a row. A column of the CSV has the name of a member, or ``object.member``.
    :param represent: returns a row of the response for an element of ``data``.
    """
    request, request_context = current_request(), current_context()
    rows = body["data"]
    if request_context.max_rows is not None:
        request_context.row_count = len(rows)
        while len(rows) > request_context.max_rows:
            del rows[max(request_context.max_rows, len(rows) - BLOCK) :]
    content_type = _preferred_type(request.environ.get("HTTP_ACCEPT", ""))
    row_blocks = ([*map(represent, row_block)] for row_block in take_blocks(rows))
    content = _encode_body(body, row_blocks, item, content_type).encode()
    content_digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    # The ETag is weak, because a compressing proxy would drop a strong ETag.
    headers = {"ETag": f'W/"{content_digest}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}
    # Werkzeug's make_conditional() is not used, because it would add a second Date header, and refuse "If-Match: *".
    if "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.contains_weak(content_digest):
        return Response(status=304, headers=headers)
    if content_type == _CSV:
        file_name = "-".join(map(str, (request.blueprint, *(request.view_args or {}).values())))
        headers["Content-Disposition"] = f'attachment; filename="{file_name}.csv"'
    return Response(content, headers={"Content-Type": content_type, **headers})


def _encode_body(body: dict[str, Any], blocks: Iterable[list[Any]], item: type[ma.Schema], content_type: str) -> str:
    if content_type == _CSV:
        return _encode_csv(blocks, item)
    if content_type == _NDJSON:
        return "".join(f"{json_line}\n" for row_block in blocks for json_line in _encode_rows(row_block, item))
    json_rows = ",".join(_join_json_rows(row_block, item) for row_block in blocks)
    encoded_members = (
        f"{_encode(member_name)}:{f'[{json_rows}]' if member_name == 'data' else _encode(body[member_name])}"
        for member_name in body
    )
    return f"{{{','.join(encoded_members)}}}"


@functools.lru_cache(maxsize=256)
def _preferred_type(accept: str) -> str:
    """Return the content type that ``Accept`` prefers (RFC 9110 section 12.5.1), or JSON if it prefers none."""
    # The results are cached, because parsing a browser's value takes 90 µs. Clients send few different values.
    content_type = parse_accept_header(accept, MIMEAccept).best_match(("application/json", *_CSV_ACCEPTED, _NDJSON))
    return _CSV if content_type in _CSV_ACCEPTED else content_type or "application/json"


def _are_tuples(rows: list[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], tuple)


def _join_json_rows(rows: list[Any], item: type[ma.Schema]) -> str:
    """Return a block of rows as JSON objects, separated by commas."""
    if _are_tuples(rows) or any(_find_long_members(row) for row in rows):
        return ",".join(_encode_rows(rows, item))
    return _encode(rows)[1:-1]


def _encode_rows(rows: list[Any], item_schema: type[ma.Schema]) -> list[str]:
    """Return a block of rows as JSON, one string per row."""
    if _are_tuples(rows):
        json_template = _build_json_template(item_schema)
        return [json_template % row for row in rows]
    return [_encode_row(row) for row in rows]


def _encode_row(row: dict[str, Any]) -> str:
    """Return a row as JSON. A long list in the row is encoded in blocks, and emptied."""
    if not (long_member_names := _find_long_members(row)):
        return _encode(row)
    encoded_blocks = {name: (_encode(block)[1:-1] for block in take_blocks(row[name])) for name in long_member_names}
    encoded_members = (
        f"{_encode(name)}:{'[' + ','.join(encoded_blocks[name]) + ']' if name in encoded_blocks else _encode(value)}"
        for name, value in row.items()
    )
    return f"{{{','.join(encoded_members)}}}"


def _find_long_members(row: dict[str, Any]) -> list[str]:
    return [member_name for member_name, value in row.items() if isinstance(value, list) and len(value) > BLOCK]


@functools.cache
def _build_json_template(item_schema: type[ma.Schema]) -> str:
    """Return a format string that turns a tuple of integers, ids and dates into a JSON object."""
    member_fields = item_schema().fields.items()
    return "{" + ",".join(f'"{field.data_key or name}":{_FORMATS[type(field)]}' for name, field in member_fields) + "}"


def _encode_csv(row_blocks: Iterable[list[Any]], item_schema: type[ma.Schema]) -> str:
    column_paths = _list_column_paths(item_schema)
    csv_rows = (
        row if isinstance(row, tuple) else [functools.reduce(operator.getitem, path, row) for path in column_paths]
        for row_block in row_blocks
        for row in row_block
    )
    return format_csv((".".join(path) for path in column_paths), csv_rows)


def format_csv(columns: Iterable[str] | None, rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV (RFC 4180) that is safe to open in a spreadsheet, without a header if *columns* is None."""
    csv_buffer = io.StringIO()
    csv_writer = csv.writer(csv_buffer)
    if columns is not None:
        csv_writer.writerow(columns)
    csv_writer.writerows(map(_format_csv_cell, row) for row in rows)
    return csv_buffer.getvalue()


@functools.cache
def _list_column_paths(item_schema: type[ma.Schema]) -> list[tuple[str, ...]]:
    """Return a path per column of the CSV: the names of the nested members that contain the column's value in a row."""
    column_paths: list[tuple[str, ...]] = []
    for field_name, field in item_schema().fields.items():
        inner_paths = _list_column_paths(type(field.schema)) if isinstance(field, ma.fields.Nested) else [()]
        column_paths += [(field.data_key or field_name, *inner_path) for inner_path in inner_paths]
    return column_paths


def _format_csv_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return _encode(value)
    # The apostrophe stops a spreadsheet from running the text as a formula (OWASP, "CSV Injection").
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
