"""An access token that is sent beside the one in the header, or instead of it."""

from __future__ import annotations

from flask import request

from agentidp.http.errors import SecondToken
from agentidp.http.request_context import current_request


def refuse() -> None:
    """Refuse a request that sends an access token beside the one in its header (RFC 6750 section 2).

    :raises SecondToken: the query, or a body that is a form, has a parameter ``access_token``.
    """
    environ = current_request().environ
    if is_in_query() or (environ.get("CONTENT_TYPE") and _is_in_form()):
        raise SecondToken


def is_in_query() -> bool:
    """Whether the query has a parameter ``access_token``."""
    received = current_request()
    query = received.environ.get("QUERY_STRING", "")
    # Most requests need no parsing. A name with percent signs can still spell access_token.
    return ("access_token" in query or "%" in query) and "access_token" in received.args


def _is_in_form() -> bool:
    if request.mimetype != "application/x-www-form-urlencoded":
        return False
    # Keeps the body, because the view checks whether there is one.
    request.get_data()
    return "access_token" in request.form
