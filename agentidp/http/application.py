"""The application class: Flask, with our request and our ``g``."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from agentidp.http.parser import BoundedRequest
from agentidp.http.request_context import Context


class Application(Flask):
    """A Flask application."""

    request_class = BoundedRequest
    app_ctx_globals_class = Context  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # An address has one spelling; a redirect from //api//v1 would name the host that the client sent.
        self.url_map.merge_slashes = False
        # Objects keep the order in which the documentation shows their names.
        self.json.sort_keys = False  # type: ignore[attr-defined]

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds a request's route. An empty path, as of ``GET http://host``, is ``/`` (RFC 9110 section 4.2.3).
        Werkzeug would redirect to it, by the host that the client sent.
        """
        if request is not None and not request.environ.get("PATH_INFO"):
            request.environ["PATH_INFO"] = "/"
        return super().create_url_adapter(request)
