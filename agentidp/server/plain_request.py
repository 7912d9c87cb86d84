"""A plain HTTP/1.1 request that has arrived as a whole, read by one regular expression.

gunicorn reads a head line by line, with about twenty calls for each header. Nearly all requests are plain: no header
comes twice, none changes how the body is read, and no character needs a second look. Whatever is not is left to
gunicorn's own parser (``agentidp/server/worker.py``), so nothing is accepted here that it would refuse, or read in
another way: tests/server/test_plain_request.py compares both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HEAD = re.compile(
    r"(GET|HEAD|POST|PUT|PATCH|DELETE) ((/(?!/)[A-Za-z0-9/._~%:=,-]*)(?:\?([A-Za-z0-9/._~%:=,&+-]*))?) HTTP/1\.1\r\n"
    r"((?:[A-Za-z][A-Za-z0-9-]*: [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
_FIELD = re.compile(r"([A-Za-z0-9-]+): (.+)\r\n")
_NOT_PLAIN = frozenset(("EXPECT", "TRANSFER-ENCODING"))
_LENGTH = re.compile(r"[0-9]{1,5}")

PlainRequest = tuple[str, str, str, str, list[tuple[str, str]], bytes, int]


def plain_request(received: bytes, *, maximum: int, special: Iterable[str]) -> PlainRequest | None:
    """The request with which *received* begins, or ``None`` if it is not plain, or has not arrived as a whole.

    :param maximum: bytes of the head.
    :param special: further names, in capitals, of headers that make a request not plain.
    :returns: method, target, path, query, headers (names in capitals), body, and how many bytes all of it has.
    """
    found = _HEAD.match(received.decode("latin-1"))
    if found is None or found.end() > maximum:
        return None
    method, target, path, query, fields = found.groups("")
    headers = [(name.upper(), value) for name, value in _FIELD.findall(fields)]
    named = dict(headers)
    length = named.get("CONTENT-LENGTH", "0")
    if len(named) < len(headers) or not _NOT_PLAIN.isdisjoint(named) or not named.keys().isdisjoint(special):
        return None
    if not _LENGTH.fullmatch(length):
        return None
    end = found.end() + int(length)
    return (method, target, path, query, headers, received[found.end() : end], end) if end <= len(received) else None
