"""Counts the requests of a process, and how long they took, by route."""

from __future__ import annotations

import re
import time
from functools import lru_cache

from flask import Flask, Response
from prometheus_client import Counter, Histogram

from agentidp.http.request_context import current_context, current_request
from agentidp.metrics import DURATION, REQUESTS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Any other method is counted as ``other``: there must be few, and a client can invent them."""

UNKNOWN_ROUTE = "unknown"
"""Counts the requests to all addresses that do not exist, or that do not take the request's method."""


def init_app(app: Flask) -> None:
    """Count every request to *app*. Register it first, so that the other hooks are part of the time."""

    @app.after_request
    def count(response: Response) -> Response:
        received = current_request()
        rule = received.url_rule
        requests, duration = _children(rule.rule if rule is not None else None, received.method, response.status_code)
        requests.inc()
        duration.observe(time.perf_counter() - current_context().started)
        return response


@lru_cache(maxsize=4096)
def _children(rule: str | None, method: str, status: int) -> tuple[Counter, Histogram]:
    """The counter and the histogram of a kind of request: looking up labels takes longer than counting."""
    route, method = route_of(rule), method if method in METHODS else "other"
    return REQUESTS.labels(route, method, str(status)), DURATION.labels(route, method)


def route_of(rule: str | None) -> str:
    """A route as the OpenAPI document and docs/ write it: {agent_id}, not <uuid:agent_id>."""
    return UNKNOWN_ROUTE if rule is None else re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule)
