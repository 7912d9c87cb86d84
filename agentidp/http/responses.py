"""Responses: compact JSON; and for analytics and the audit trail JSON, CSV or NDJSON, with an ETag."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import marshmallow as ma
from flask import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from agentidp.http.request_context import current_request

# What is encoded here is a tree. To check that it is one takes a sixth of the time.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode
BLOCK = 250
"""Number of rows that are encoded in one call. No other thread of the process runs during such a call."""

_CSV = "text/csv; charset=utf-8; header=present"
_CSV_ACCEPTED = ("text/csv", "text/csv;charset=utf-8", "text/csv;charset=utf-8;header=present")
_NDJSON = "application/x-ndjson"
_FORMATS = {ma.fields.Integer: "%s", ma.fields.UUID: '"%s"', ma.fields.Date: '"%s"'}
# The last four are full-width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A compact JSON response; without a schema."""
    return Response(_encode(body).encode(), status, {"Content-Type": "application/json", **(headers or {})})


def data_response(body: dict[str, Any], item: type[ma.Schema]) -> Response:
    """*body* as JSON, or its ``data`` as CSV (RFC 4180) or NDJSON if the request's ``Accept`` prefers that. If the
    client has it already by its ``If-None-Match``, a 304 instead (RFC 9110 section 13.1.2).

    The ETag is weak, since a proxy that compresses makes a strong one weak or drops it, and nothing that is sent here
    is asked for in parts.

    :param body: its member ``data`` has the rows: objects, or tuples in the order of *item*'s fields if these
        are integers, ids and dates. The JSON of a tuple takes less than half the time.
    :param item: what is in ``data``. Its names are the header row; those of an object in it come after the object's
        own and a dot.
    """
    received = current_request()
    content_type = _preferred(received.environ.get("HTTP_ACCEPT", ""))
    if content_type == _CSV:
        content = _csv(body["data"], item).encode()
    elif content_type == _NDJSON:
        content = "".join(f"{line}\n" for line in _lines(body["data"], item)).encode()
    elif _are_tuples(body["data"]):
        content = _with_data(body, _lines(body["data"], item))
    elif len(body["data"]) > BLOCK:
        blocks = (body["data"][first : first + BLOCK] for first in range(0, len(body["data"]), BLOCK))
        content = _with_data(body, (_encode(block)[1:-1] for block in blocks))
    else:
        content = _encode(body).encode()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    headers = {"ETag": f'W/"{digest}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}
    # Not by Response.make_conditional: its Date would come on top of gunicorn's, and it refuses "If-Match: *".
    if "HTTP_IF_NONE_MATCH" in received.environ and received.if_none_match.contains_weak(digest):
        return Response(status=304, headers=headers)
    if content_type == _CSV:
        name = "-".join(map(str, (received.blueprint, *(received.view_args or {}).values())))
        headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return Response(content, headers={"Content-Type": content_type, **headers})


def _with_data(body: dict[str, Any], parts: Iterable[str]) -> bytes:
    """Encode *body* as a JSON object.

    :param parts: the rows of its member ``data``: JSON of one or more rows each, without brackets.
    """
    members = (
        f"{_encode(name)}:{'[' + ','.join(parts) + ']' if name == 'data' else _encode(value)}"
        for name, value in body.items()
    )
    return f"{{{','.join(members)}}}".encode()


@functools.lru_cache(maxsize=256)
def _preferred(accept: str) -> str:
    """The content type that an ``Accept`` prefers (RFC 9110 section 12.5.1), JSON if it has no preference. Remembered,
    since there are few of them and a browser's takes 90 µs to read.
    """
    best = parse_accept_header(accept, MIMEAccept).best_match(("application/json", *_CSV_ACCEPTED, _NDJSON))
    return _CSV if best in _CSV_ACCEPTED else best or "application/json"


def _are_tuples(rows: list[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], tuple)


def _lines(rows: list[Any], item: type[ma.Schema]) -> list[str]:
    """The JSON of each row."""
    if _are_tuples(rows):
        template = _template(item)
        return [template % row for row in rows]
    return [_encode(row) for row in rows]


@functools.cache
def _template(item: type[ma.Schema]) -> str:
    """By which a tuple is formatted as JSON. Nothing in it needs to be escaped."""
    fields = item().fields.items()
    return "{" + ",".join(f'"{field.data_key or name}":{_FORMATS[type(field)]}' for name, field in fields) + "}"


def _csv(rows: list[Any], item: type[ma.Schema]) -> str:
    columns = _columns(item)
    if not _are_tuples(rows):
        rows = [[functools.reduce(operator.getitem, path, row) for path in columns] for row in rows]
    return csv_text((".".join(path) for path in columns), rows)


def csv_text(columns: Iterable[str] | None, rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV (RFC 4180) that a spreadsheet can open safely.

    :param columns: the header row, or ``None`` for a further part of the table.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    if columns is not None:
        writer.writerow(columns)
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


@functools.cache
def _columns(item: type[ma.Schema]) -> list[tuple[str, ...]]:
    """Where in an object after a schema each column is: the names on the way to it."""
    columns: list[tuple[str, ...]] = []
    for name, field in item().fields.items():
        below = _columns(type(field.schema)) if isinstance(field, ma.fields.Nested) else [()]
        columns += [(field.data_key or name, *path) for path in below]
    return columns


def _cell(value: Any) -> Any:
    """A value as a cell; a list or an object as its JSON. Text that a spreadsheet would take for a formula gets a quote
    before it (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    if isinstance(value, list | dict):
        return _encode(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
