"""Flask's path from a request to its view and back, without the steps that a synchronous service does not need.

This replaces ``Flask.full_dispatch_request``, the search for a route, the reading of bodies and the sending of
responses. tests/fast_path compares the results with Flask's.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from typing import IO, Any

from flask import Request, Response, request_finished, request_started
from werkzeug.exceptions import ClientDisconnected
from werkzeug.routing import MapAdapter, Rule
from werkzeug.utils import cached_property

from agentidp.http.application import Application
from agentidp.http.parser import MAX_BODY, BoundedRequest
from agentidp.http.request_context import current_request


class FastRequest(BoundedRequest):
    """A request whose body is read by a single call if its length is known."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """The request's body, read by one call if its length is known. Werkzeug reads the body in several steps."""
        body_length = self.environ.get("CONTENT_LENGTH", "")
        if not body_length.isdecimal() or int(body_length) > MAX_BODY:
            return super().stream
        try:
            request_body = self.environ["wsgi.input"].read(int(body_length))
        except OSError:
            raise ClientDisconnected from None
        if len(request_body) < int(body_length):
            raise ClientDisconnected
        return io.BytesIO(request_body)


def send_response(response: Response, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Send a response. If its status is 200 and its length known, skip Werkzeug, which would copy the headers.

    A list as the result is a complete body, so ``server/sending.py`` does not make the request wait again, and
    ``worker.py`` sends the list in one system call. Any other iterable may still compute its chunks.
    """
    body = response.response
    # Werkzeug sends other statuses than 200, because it changes Content-Length and Location for some of them.
    is_complete = response.status_code == 200 and isinstance(body, list) and "Content-Length" in response.headers
    if not is_complete or response._on_close or environ["REQUEST_METHOD"] == "HEAD":
        return response(environ, start_response)
    start_response(response.status, list(response.headers))
    return body  # type: ignore[return-value]


class FastApplication(Application):
    """A Flask application with less work per request. Its views and hooks must be functions, not coroutines."""

    request_class = FastRequest

    def full_dispatch_request(self) -> Any:
        """Run the before-request hooks, the view and the after-request hooks.

        Flask's own method runs for OPTIONS, for unknown paths, for routes whose blueprint has hooks, if a signal has a
        receiver, and for the first request. ``flask.after_this_request`` and sessions have no effect here, because only
        routes whose blueprint has hooks use that function, and no route uses sessions.

        :returns: a WSGI application that sends the response.
        """
        request = current_request()
        url_rule = request.url_rule
        if (
            url_rule is None
            or url_rule.endpoint not in self._endpoints_without_hooks
            or request.method == "OPTIONS"
            or not self._got_first_request
            or request_started.receivers
            or request_finished.receivers
        ):
            return super().full_dispatch_request()
        view_result: Any = None
        try:
            for run_hook in self.before_request_funcs[None]:
                view_result = run_hook()
                if view_result is not None:
                    break
            else:
                view_result = self.view_functions[url_rule.endpoint](**request.view_args or {})
        except Exception as error:
            view_result = self.handle_user_exception(error)
        response: Response = view_result if isinstance(view_result, Response) else self.make_response(view_result)
        for change_response in reversed(self.after_request_funcs[None]):
            response = change_response(response)
        return functools.partial(send_response, response)

    @functools.cached_property
    def _endpoints_without_hooks(self) -> frozenset[str]:
        """The endpoints whose blueprint has no hooks. Computed at the first request, when all hooks are registered."""
        hook_owners = {*self.url_value_preprocessors, *self.before_request_funcs, *self.after_request_funcs}
        prefixes_with_hooks = tuple(f"{blueprint}." for blueprint in hook_owners if blueprint is not None)
        endpoints = () if None in self.url_value_preprocessors else self.view_functions
        return frozenset(endpoint for endpoint in endpoints if not endpoint.startswith(prefixes_with_hooks))

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Set the route of a path without parameters, and return None. For other paths, return Werkzeug's adapter."""
        rule = self._routes_without_parameters.get((request.method, request.path)) if request is not None else None
        if request is None or rule is None:
            return super().create_url_adapter(request)
        request.url_rule, request.view_args = rule, {}
        # Flask searches for a route only if there is an adapter, and otherwise uses request.url_rule.
        return None

    @functools.cached_property
    def _routes_without_parameters(self) -> dict[tuple[str, str], Rule]:
        """The routes without parameters, by method and path. Computed at the first request."""
        rules = [rule for rule in self.url_map.iter_rules() if not rule.arguments]
        return {(method, rule.rule): rule for rule in rules for method in (rule.methods or ()) if method != "OPTIONS"}
