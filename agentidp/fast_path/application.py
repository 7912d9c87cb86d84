"""Flask's path from a request to its view and back, without the steps that a synchronous service does not need.

This replaces ``Flask.full_dispatch_request``, the search for a route, the teardown of contexts, the reading of bodies
and the sending of responses. tests/fast_path compares the results with Flask's.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from typing import IO, Any

from flask import (
    Flask,
    Request,
    Response,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import ClientDisconnected
from werkzeug.routing import MapAdapter, Rule
from werkzeug.utils import cached_property
from werkzeug.wsgi import get_host

from agentidp.http.application import Application
from agentidp.http.parser import MAX_BODY, BoundedRequest
from agentidp.http.request_context import current_request


class FastRequest(BoundedRequest):
    """A request whose body is read in one step."""

    @functools.cached_property
    def blueprints(self) -> list[str]:
        """The names of the route's blueprint and of its parents. Cached, because Flask looks for them three times."""
        return super().blueprints

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. A body of known length is read in one call; Werkzeug reads in steps, through three layers.

        :raises ClientDisconnected: the connection ended before the body was complete.
        """
        length = self.environ.get("CONTENT_LENGTH", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return super().stream
        try:
            body = self.environ["wsgi.input"].read(int(length))
        except OSError:
            raise ClientDisconnected from None
        if len(body) < int(length):
            raise ClientDisconnected
        return io.BytesIO(body)

    def close(self) -> None:
        """Close the uploaded files, if a form was parsed. Werkzeug would also iterate over an empty list of files."""
        if "files" in vars(self):
            super().close()


class FastResponse(Response):
    """A response whose headers are sent unchanged if its body is complete. Werkzeug would copy each header."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass the status and the headers to *start_response*, and return the body, as WSGI requires."""
        body = self.response
        # For some other statuses, Werkzeug removes Content-Length or changes Location.
        is_plain = self.status_code == 200 and isinstance(body, list) and "Content-Length" in self.headers
        if not is_plain or self._on_close or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, list(self.headers))
        return body  # type: ignore[return-value]


class NoSessions(SessionInterface):
    """Sessions that are always empty, with one object for all requests."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Return a session that raises an error if it is changed."""
        return self._none


class FastApplication(Application):
    """An application whose views and hooks are not coroutines."""

    request_class = FastRequest
    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return *func* unchanged. Flask would check at each call whether it is a coroutine function."""
        return func

    def full_dispatch_request(self) -> Response:
        """Call the hooks before the request, the view, and the hooks after the request, and return the response.

        Flask's own method handles requests with signals or hooks of the route's blueprint, OPTIONS, unknown addresses,
        and the first request, after which Flask allows no more registrations. Functions of ``flask.after_this_request``
        are not called and sessions are not saved, because none of our views uses them.
        """
        received = current_request()
        rule = received.url_rule
        if (
            rule is None
            or rule.endpoint not in self._plain_endpoints
            or received.method == "OPTIONS"
            or not self._got_first_request
            or request_started.receivers
            or request_finished.receivers
        ):
            return super().full_dispatch_request()
        found: Any = None
        try:
            for function in self.before_request_funcs[None]:
                found = function()
                if found is not None:
                    break
            else:
                found = self.view_functions[rule.endpoint](**received.view_args or {})
        except Exception as error:
            found = self.handle_user_exception(error)
        response: Response = found if isinstance(found, Response) else self.make_response(found)
        for complete in reversed(self.after_request_funcs[None]):
            response = complete(response)
        if type(response) is Response:
            response.__class__ = FastResponse
        return response

    @functools.cached_property
    def _plain_endpoints(self) -> frozenset[str]:
        """The endpoints that have no hooks of their own. Computed at the first request that is dispatched here."""
        hooked = {*self.url_value_preprocessors, *self.before_request_funcs, *self.after_request_funcs}
        prefixes = tuple(f"{name}." for name in hooked if name is not None)
        endpoints = () if None in self.url_value_preprocessors else self.view_functions
        return frozenset(endpoint for endpoint in endpoints if not endpoint.startswith(prefixes))

    def do_teardown_request(self, *error: Any) -> None:
        """Call the hooks for the end of a request, if there are any."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*error)

    def do_teardown_appcontext(self, *error: Any) -> None:
        """Call the hooks for the end of an application context, if there are any."""
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            super().do_teardown_appcontext(*error)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the object that finds a request's route, by its path and method."""
        # Flask would also look for a subdomain and a WebSocket, and decode values again.
        if request is None:
            return super().create_url_adapter(None)
        rule = self._plain_routes.get((request.method, request.path))
        return self._bound(request) if rule is None else _PlainRoute(rule, functools.partial(self._bound, request))

    def _bound(self, request: Request) -> MapAdapter:
        return self.url_map.bind(
            get_host(request.environ),
            script_name=request.root_path,
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
            query_args=request.query_string.decode(errors="replace"),
        )

    @functools.cached_property
    def _plain_routes(self) -> dict[tuple[str, str], Rule]:
        """The routes without parameters, by method and path. Computed at the first request."""
        rules = [rule for rule in self.url_map.iter_rules() if not rule.arguments]
        return {(method, rule.rule): rule for rule in rules for method in (rule.methods or ()) if method != "OPTIONS"}


class _PlainRoute(MapAdapter):
    """An adapter for a route found without a search. Werkzeug's attributes are copied when one is first read."""

    def __init__(self, rule: Rule, bind: Callable[[], MapAdapter]) -> None:
        self._rule, self._bind = rule, bind

    def __getattr__(self, name: str) -> Any:
        vars(self).update(vars(self._bind()))
        return object.__getattribute__(self, name)

    def match(self, *args: Any, **kwargs: Any) -> Any:
        """Return the route of the request. Let Werkzeug search for any other route."""
        return (self._rule, {}) if not args and kwargs == {"return_rule": True} else super().match(*args, **kwargs)
