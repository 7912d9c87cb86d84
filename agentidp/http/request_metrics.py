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
"""Methods that are labels of metrics. All other methods get the label ``other``, because clients can invent methods."""

UNKNOWN_ROUTE = "unknown"
"""The label of requests whose path is unknown or does not support the method."""


def init_app(app: Flask) -> None:
    """Count and time every request to *app*. Call this before other hooks are added, to include their time."""

    @app.after_request
    def count_request(response: Response) -> Response:
        method, url_rule = current_request().method, current_request().url_rule
        request_counter, duration_histogram = _find_counter_and_histogram(
            url_rule.rule if url_rule is not None else None, method, response.status_code
        )
        request_counter.inc()
        duration_histogram.observe(time.perf_counter() - current_context().started)
        return response


@lru_cache(maxsize=4096)
def _find_counter_and_histogram(rule: str | None, method: str, status: int) -> tuple[Counter, Histogram]:
    """Return the counter and the histogram for a request's labels. The cache makes this fast."""
    route_label, method_label = route_of(rule), method if method in METHODS else "other"
    return REQUESTS.labels(route_label, method_label, str(status)), DURATION.labels(route_label, method_label)


def route_of(rule: str | None) -> str:
    """Return a route in the spelling of the OpenAPI document: ``{agent_id}``, not ``<uuid:agent_id>``."""
    return UNKNOWN_ROUTE if rule is None else re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule)
