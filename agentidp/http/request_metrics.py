"""Counts the requests of a process and measures their duration, by route."""

from __future__ import annotations

import re
import time
from functools import lru_cache

from flask import Flask, Response
from prometheus_client import Counter, Histogram

from agentidp.http.request_context import current_context, current_request
from agentidp.metrics import DURATION, REQUESTS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods with their own label. Others are counted as ``other``, because clients could invent any number of labels."""

UNKNOWN_ROUTE = "unknown"
"""Route label of requests to unknown addresses, or with a method that the address does not support."""


def init_app(app: Flask) -> None:
    """Count every request to *app*. Call this first, so that the duration includes the other hooks."""

    @app.after_request
    def count(response: Response) -> Response:
        method, rule = current_request().method, current_request().url_rule
        requests, duration = _children(rule.rule if rule is not None else None, method, response.status_code)
        requests.inc()
        duration.observe(time.perf_counter() - current_context().started)
        return response


@lru_cache(maxsize=4096)
def _children(rule: str | None, method: str, status: int) -> tuple[Counter, Histogram]:
    """Return the counter and the histogram for some labels. Cached, because the lookup takes longer than counting."""
    route, method = route_of(rule), method if method in METHODS else "other"
    return REQUESTS.labels(route, method, str(status)), DURATION.labels(route, method)


def route_of(rule: str | None) -> str:
    """Return a route as the OpenAPI document and docs/ write it: {agent_id}, not <uuid:agent_id>."""
    return UNKNOWN_ROUTE if rule is None else re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule)
