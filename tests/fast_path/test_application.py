"""The application finds a route without parameters by its path alone."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from agentidp.fast_path.application import FastApplication
from agentidp.http.application import Application

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get")


def outcome(adapter: MapAdapter | None) -> Any:
    """What a search finds, or how it fails."""
    assert isinstance(adapter, MapAdapter)
    try:
        return adapter.match(return_rule=True)
    except HTTPException as error:
        return type(error), sorted(getattr(error, "valid_methods", None) or ())


def test_each_route_is_the_one_that_the_stock_application_finds(shared_app: Flask) -> None:
    assert isinstance(shared_app, FastApplication)
    plain = 0
    # The path of "GET http://host" is empty.
    for path in {rule.rule for rule in shared_app.url_map.iter_rules()} | {""}:
        for method in METHODS:
            for spelling in (path, f"/{path}", f"{path}/", path.upper()):
                given = {"PATH_INFO": spelling, "REQUEST_METHOD": method}
                with shared_app.test_request_context(environ_overrides=given):
                    adapter = shared_app.create_url_adapter(request)
                    found = outcome(adapter)
                    plain += type(adapter) is not MapAdapter
                    assert found == outcome(Application.create_url_adapter(shared_app, request)), (method, spelling)
    assert plain > 20


def test_addresses_are_built_as_werkzeug_does(shared_app: Flask) -> None:
    with shared_app.test_request_context("/healthz"):
        adapter, searching = shared_app.create_url_adapter(request), Application.create_url_adapter(shared_app, request)
        assert isinstance(adapter, MapAdapter)
        assert isinstance(searching, MapAdapter)
        assert type(adapter) is not MapAdapter
        endpoint, _ = searching.match("/api/v1/token", "POST")
        assert adapter.match("/api/v1/token", "POST") == (endpoint, {})
        assert adapter.build(endpoint, force_external=True) == searching.build(endpoint, force_external=True)
