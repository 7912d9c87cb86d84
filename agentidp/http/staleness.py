"""The response header with the maximum age of data from a read replica."""

from __future__ import annotations

import math

from flask import Flask, Response

from agentidp.http.request_context import current_context

HEADER = "AgentIdP-Staleness"
"""Header with the age of a replica's data in seconds, a Decimal of RFC 9651."""


def init_app(app: Flask) -> None:
    """Add the header to each response for which the caller has read from the replica."""

    @app.after_request
    def add_staleness(response: Response) -> Response:
        caller = current_context().caller
        if caller is not None and caller.replica is not None and caller.replica.staleness is not None:
            # The header's value is an upper bound, so it is rounded up.
            response.headers[HEADER] = f"{math.ceil(caller.replica.staleness * 10) / 10:.1f}"
        return response
