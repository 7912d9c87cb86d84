"""Checks the bodies and headers of error responses."""

from __future__ import annotations

import re
from typing import Any

from werkzeug.test import TestResponse

UNAVAILABLE = "The service is temporarily unavailable; try again."


HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def assert_error(
    response: TestResponse, status: int, code: str, message: str, details: dict[str, Any] | None = None, **headers: str
) -> None:
    """The response is this error, whole, with the headers of every error and *headers*."""
    body = {"code": code, "message": message, "details": details or {}}
    assert (response.status_code, response.json) == (status, body)
    assert_headers(response, headers)


def assert_oauth_error(response: TestResponse, status: int, error: str, description: str, **headers: str) -> None:
    """The response is this error as RFC 6749 section 5.2 renders it, with the headers of every error and *headers*."""
    assert (response.status_code, response.json) == (status, {"error": error, "error_description": description})
    assert_headers(response, headers)


def assert_headers(response: TestResponse, headers: dict[str, str]) -> None:
    """The headers of every error, the further ones with - written as _, and no other."""
    found = dict(response.headers)
    del found["Content-Length"]
    assert re.fullmatch(r"[0-9a-f]{32}", found.pop("X-Request-Id"))
    assert found == HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}


def assert_unavailable(response: TestResponse, message: str = UNAVAILABLE, *, is_oauth: bool = False) -> None:
    if is_oauth:
        assert_oauth_error(response, 503, "temporarily_unavailable", message, Retry_After="1")
    else:
        assert_error(response, 503, "SERVICE_UNAVAILABLE", message, Retry_After="1")
