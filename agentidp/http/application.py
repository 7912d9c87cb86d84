"""Flask's application class with our request class and our class for ``g``."""

from __future__ import annotations

from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from agentidp.http.parser import BoundedRequest
from agentidp.http.request_context import Context


class Application(Flask):
    request_class = BoundedRequest
    app_ctx_globals_class = Context  # type: ignore[assignment]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # With merge_slashes, Werkzeug would redirect //api//v1 to a URL whose host comes from the client's request.
        self.url_map.merge_slashes = False
        # Flask would sort the members of JSON objects by name. The documentation shows them in another order.
        self.json.sort_keys = False  # type: ignore[attr-defined]

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return Werkzeug's object that finds the route. An empty path counts as ``/`` (RFC 9110 section 4.2.3)."""
        if request is not None and not request.environ.get("PATH_INFO"):
            request.environ["PATH_INFO"] = "/"
        return super().create_url_adapter(request)
