"""The application finds a route without parameters by method and path, without a search."""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from agentidp.fast_path.application import FastApplication
from agentidp.http.application import Application

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get")


def search(adapter: MapAdapter) -> Any:
    """Return the route that a search returns, or the error that it raises."""
    try:
        return adapter.match(return_rule=True)
    except HTTPException as error:
        return type(error), sorted(getattr(error, "valid_methods", None) or ())


def test_each_route_is_the_one_that_the_stock_application_finds(shared_app: Flask) -> None:
    assert isinstance(shared_app, FastApplication)
    without_search = 0
    # The path of "GET http://host" is empty.
    for path in {rule.rule for rule in shared_app.url_map.iter_rules()} | {""}:
        for method in METHODS:
            for spelling in (path, f"/{path}", f"{path}/", path.upper()):
                overrides = {"PATH_INFO": spelling, "REQUEST_METHOD": method}
                with shared_app.test_request_context(environ_overrides=overrides):
                    adapter = shared_app.create_url_adapter(request)
                    route = search(adapter) if adapter else (request.url_rule, request.view_args)
                    without_search += adapter is None
                    stock_adapter = Application.create_url_adapter(shared_app, request)
                    assert stock_adapter is not None
                    assert route == search(stock_adapter), (method, spelling)
    assert without_search > 20
