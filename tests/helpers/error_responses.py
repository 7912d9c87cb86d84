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
    """Fail unless the response is exactly this error, with the headers of every error and *headers*."""
    body = {"code": code, "message": message, "details": details or {}}
    assert (response.status_code, response.json) == (status, body)
    assert_headers(response, headers)


def assert_oauth_error(response: TestResponse, status: int, error: str, description: str, **headers: str) -> None:
    """Fail unless the response is exactly this error of OAuth (RFC 6749 section 5.2), with *headers*."""
    assert (response.status_code, response.json) == (status, {"error": error, "error_description": description})
    assert_headers(response, headers)


def assert_headers(response: TestResponse, headers: dict[str, str]) -> None:
    """Fail unless the response has just the headers of every error and *headers*, whose names have ``_`` for ``-``."""
    response_headers = dict(response.headers)
    del response_headers["Content-Length"]
    assert re.fullmatch(r"[0-9a-f]{32}", response_headers.pop("X-Request-Id"))
    assert response_headers == HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}


def assert_unavailable(response: TestResponse, message: str = UNAVAILABLE, *, is_oauth: bool = False) -> None:
    if is_oauth:
        assert_oauth_error(response, 503, "temporarily_unavailable", message, Retry_After="1")
    else:
        assert_error(response, 503, "SERVICE_UNAVAILABLE", message, Retry_After="1")
