"""Flask's application class, without what a synchronous service does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host

from agentidp.http.parser import BoundedRequest


class Application(Flask):
    """A Flask application whose views and hooks are plain functions."""

    request_class = BoundedRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """*func* itself. Flask would ask for each hook and view of each request whether it is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds a request's route, by its path and method. Flask's own would also look for a subdomain and a
        WebSocket, and decode once more what the request has decoded.
        """
        if request is None:
            return super().create_url_adapter(None)
        return self.url_map.bind(
            get_host(request.environ),
            script_name=request.root_path,
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
            query_args=request.query_string.decode(errors="replace"),
        )
