"""The application responds to requests as Flask does, with less work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from agentidp.fast_path.application import FastApplication
from tests.conftest import Cast


class Plain(FastApplication):
    """The application with Flask's own methods for dispatching."""

    full_dispatch_request = Flask.full_dispatch_request


METHODS = ("GET", "HEAD", "POST", "OPTIONS", "TRACE")
PATHS = ("/", "/text", "/tuple", "/none", "/broken", "/refused", "/b/text", "/b/broken", "/n/text", "/value/5", "/lost")

Trace = list[Any]
Setup = Callable[[Flask], Any]


def build(kind: type[Flask], trace: Trace, *setups: Setup) -> Flask:
    """Build an application with views of each kind, and hooks that record their calls in *trace*."""
    app = kind(__name__, static_folder=None)
    blueprint, nested = Blueprint("b", __name__), Blueprint("n", __name__)

    def note(name: str) -> Any:
        def noted(*given: Any) -> Any:
            trace.append((name, [type(each).__name__ for each in given]))
            return given[0] if name.startswith("after") else None

        return noted

    app.extensions["note"] = note
    app.before_request(note("before 1"))
    app.before_request(note("before 2"))
    app.after_request(note("after 1"))
    app.after_request(note("after 2"))
    views: dict[str, Callable[..., Any]] = {
        "/": lambda: flask.Response("whole", headers={"A": "b"}),
        "/text": lambda: "text",
        "/tuple": lambda: ({"a": 1}, 201, {"A": "b"}),
        "/none": lambda: None,
        "/broken": lambda: 1 / 0,
        "/refused": lambda: flask.abort(403),
        "/value/<int:number>": lambda number: str(number),
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view, methods=["GET", "POST"])
    for each, prefix in ((blueprint, "/b"), (nested, "/n")):
        for path in ("/text", "/broken"):
            each.add_url_rule(path, path.strip("/"), views[path])
        app.register_blueprint(each, url_prefix=prefix)
    for setup in setups:
        setup(app)
    return app


def outcomes(kind: type[Flask], *setups: Setup) -> list[Any]:
    """Return the responses and calls of hooks for each path and method. The first request is sent twice."""
    trace: Trace = []
    app = build(kind, trace, *setups)
    client = app.test_client()
    found: list[Any] = []
    for method, path in [("GET", "/"), *((method, path) for method in METHODS for path in PATHS)]:
        trace.clear()
        try:
            response = client.open(path, method=method)
            seen: Any = response.status, list(response.headers), response.data
        except Exception as error:
            seen = type(error), str(error)
        found.append((method, path, seen, [*trace]))
    return found


def noted(app: Flask, name: str) -> Any:
    """Return a hook that records its calls."""
    return app.extensions["note"](name)


def error_handlers(app: Flask) -> None:
    app.register_error_handler(ZeroDivisionError, lambda error: ("handled", 500))
    app.register_error_handler(HTTPException, lambda error: (str(error.code), error.code))


def hooks_of_a_blueprint(app: Flask) -> None:
    app.before_request_funcs["b"] = [noted(app, "before of b")]
    app.after_request_funcs["n"] = [noted(app, "after of n")]
    app.url_value_preprocessors["b"] = [noted(app, "values of b")]


def teardown_hooks(app: Flask) -> None:
    app.teardown_request(noted(app, "teardown"))
    app.teardown_request_funcs["b"] = [noted(app, "teardown of b")]
    app.teardown_appcontext(noted(app, "teardown of the context"))


SETUPS: dict[str, Setup] = {
    "nothing else": lambda app: None,
    "a before hook that responds": lambda app: app.before_request(lambda: "early"),
    "a before hook that fails": lambda app: app.before_request(lambda: flask.abort(429)),
    "an after hook that replaces": lambda app: app.after_request(lambda response: flask.Response("replaced", 202)),
    "an after hook that fails": lambda app: app.after_request(lambda response: 1 / 0),  # type: ignore[arg-type,return-value]
    "error handlers": error_handlers,
    "hooks of a blueprint": hooks_of_a_blueprint,
    "teardown hooks": teardown_hooks,
    "preprocessors": lambda app: app.url_value_preprocessor(noted(app, "values")),
}


@pytest.mark.parametrize("setup", SETUPS)
def test_a_request_is_responded_to_as_by_flask(setup: str) -> None:
    for setups in ([SETUPS[setup]], [SETUPS[setup], error_handlers]):
        assert outcomes(FastApplication, *setups) == outcomes(Plain, *setups)


@pytest.mark.parametrize(
    "signal",
    [
        flask.request_started,
        flask.request_finished,
        flask.request_tearing_down,
        flask.appcontext_tearing_down,
        flask.got_request_exception,
    ],
    ids=lambda signal: signal.name,
)
def test_who_listens_gets_flasks_signals(signal: Any) -> None:
    heard: dict[type[Flask], Trace] = {FastApplication: [], Plain: []}
    for kind, trace in heard.items():
        with signal.connected_to(lambda _, trace=trace, **given: trace.append(sorted(given))):
            outcomes(kind)
    assert heard[FastApplication] == heard[Plain] != []


def test_our_routes_respond_as_by_flask(
    shared_client: FlaskClient, shared_cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = shared_client.application

    def seen() -> list[Any]:
        paths = sorted({rule.rule for rule in app.url_map.iter_rules()})
        requests = [(path, method, {}) for path in paths for method in ("GET", "POST", "OPTIONS", "DELETE")]
        requests += [(path, "GET", shared_cast.acme.bearer()) for path in paths]
        found = []
        for path, method, headers in requests:
            response = shared_client.open(path, method=method, headers=headers)
            found.append((path, method, response.status, [name for name, _ in response.headers]))
        return found

    ours = seen()
    monkeypatch.setattr(FastApplication, "full_dispatch_request", Flask.full_dispatch_request)
    assert ours == seen()


def test_most_of_our_views_are_called_without_flasks_detours(shared_app: Flask) -> None:
    shared_app.test_client().get("/healthz")
    assert isinstance(shared_app, FastApplication)
    plain = shared_app._endpoints_without_hooks
    pages = {name for name in shared_app.view_functions if name.startswith(("dashboard", "authorization"))}
    assert plain == shared_app.view_functions.keys() - pages
    assert plain
    assert pages
