"""Detects access tokens outside the Authorization header."""

from __future__ import annotations

from flask import request

from agentidp.http.errors import SecondToken
from agentidp.http.request_context import current_request


def refuse_second_token() -> None:
    """Raise ``SecondToken`` if the query or the form contains an ``access_token`` (RFC 6750 section 2)."""
    environ = current_request().environ
    query = environ.get("QUERY_STRING", "")
    # Parses only a query that may contain the parameter access_token. A "%" may encode letters of this name.
    is_in_query = ("access_token" in query or "%" in query) and "access_token" in current_request().args
    if is_in_query or (environ.get("CONTENT_TYPE") and _is_in_form()):
        raise SecondToken


def _is_in_form() -> bool:
    if request.mimetype != "application/x-www-form-urlencoded":
        return False
    # Reading the form would consume the body, so the body is cached first for the view.
    request.get_data()
    return "access_token" in request.form
