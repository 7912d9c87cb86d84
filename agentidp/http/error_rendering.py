"""The only module that turns errors into responses."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import flask
from flask import Flask, Response
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from agentidp import metrics
from agentidp.db import errors as database_errors
from agentidp.http.errors import (
    ApiError,
    NotFound,
    OAuthError,
    OutcomeUnknown,
    PayloadTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationError,
    WrongMethod,
)
from agentidp.http.openapi import declarations_of
from agentidp.paths import TOKEN_ENDPOINT

logger = logging.getLogger("agentidp")

View = TypeVar("View", bound=Callable[..., Any])

_BY_STATUS: dict[int, type[ApiError]] = {
    error.status: error for error in (ValidationError, NotFound, WrongMethod, PayloadTooLarge, UnsupportedMediaType)
}


def _render(error: ApiError | OAuthError) -> Response:
    if isinstance(error, OAuthError) and flask.request.path == TOKEN_ENDPOINT:
        metrics.TOKENS_REFUSED.labels(error.error).inc()
    response = flask.jsonify(error.body())
    response.status_code = error.status
    response.headers.update(error.headers)
    return response


def oauth_errors(view: View) -> View:
    """Declare that a view's errors have the form of RFC 6749 section 5.2."""
    declarations_of(view).has_oauth_errors = True
    return view


def _as_oauth_error(error: ApiError) -> OAuthError:
    # RFC 6749 section 5.2 has no error codes for server faults, but clients understand the codes of section 4.1.2.1.
    if error.status == 503:
        return OAuthError("temporarily_unavailable", error.message, status=503, headers=error.headers)
    if error.status >= 500:
        return OAuthError("server_error", error.message, status=error.status)
    return OAuthError("invalid_request", error.message, status=error.status, headers=error.headers)


def _render_endpoint_error(error: ApiError) -> Response:
    """Return an error as a page, as an error of OAuth or as an error of this API.

    Paths with error pages get a page. At other paths, the view's declarations choose between OAuth's form and the
    API's. If the path has no view for the request's method, the declarations of the view for another method choose.
    """
    request_path = flask.request.path
    for path_prefix, render_page in flask.current_app.extensions.get("agentidp-error-pages", {}).items():
        if request_path == path_prefix or request_path.startswith(f"{path_prefix}/"):
            error_page: Response = render_page(error)
            return error_page
    view = flask.current_app.view_functions.get(flask.request.endpoint or _find_endpoint_of_path())
    is_oauth = view is not None and declarations_of(view).has_oauth_errors
    return _render(_as_oauth_error(error) if is_oauth else error)


def _find_endpoint_of_path() -> str:
    """Return an endpoint that serves the request's path with another method, or an empty string if there is none."""
    method_error = flask.request.routing_exception
    if not isinstance(method_error, MethodNotAllowed) or not method_error.valid_methods:
        return ""
    url_adapter = flask.current_app.create_url_adapter(flask.request)
    return str(url_adapter.match(method=next(iter(method_error.valid_methods)))[0]) if url_adapter else ""


def _render_http_exception(error: HTTPException) -> Response:
    status_code = error.code or 500
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        methods = ", ".join(sorted(error.valid_methods))
        return _render_endpoint_error(WrongMethod(f"This address takes only {methods}.", headers={"Allow": methods}))
    return _render_endpoint_error(_BY_STATUS.get(status_code, ApiError if status_code >= 500 else ValidationError)())


def log_unexpected(error: Exception) -> None:
    """Log the type and place of an unexpected error. Its message is not logged, because it can contain a secret."""
    stack = traceback.walk_tb(error.__traceback__)
    frame_places = [f"{frame.f_code.co_filename}:{line_number}" for frame, line_number in stack]
    log_fields = {"error": type(error).__name__, "sqlstate": getattr(error, "sqlstate", None), "at": frame_places[-8:]}
    logger.error("unexpected error", extra={"fields": log_fields})


def _render_unavailable(error: database_errors.DatabaseUnavailable) -> Response:
    is_unknown = isinstance(error, database_errors.OutcomeUnknown)
    return _render_endpoint_error(OutcomeUnknown() if is_unknown else ServiceUnavailable())


def _render_unexpected(error: Exception) -> Response:
    log_unexpected(error)
    return _render_endpoint_error(ApiError())


def register_error_pages(app: Flask, prefix: str, render: Callable[[ApiError], Response]) -> None:
    """Register the function that renders errors as pages for the path *prefix* and all paths below it."""
    app.extensions.setdefault("agentidp-error-pages", {})[prefix] = render


def init_app(app: Flask) -> None:
    """Register the handlers that render all errors of *app*."""
    app.register_error_handler(ApiError, _render_endpoint_error)
    app.register_error_handler(OAuthError, _render)
    app.register_error_handler(HTTPException, _render_http_exception)
    # gunicorn raises ParseException when a view reads a body with invalid chunks. WSGI defines no exception for that.
    app.register_error_handler(ParseException, lambda _: _render_endpoint_error(ValidationError()))
    app.register_error_handler(database_errors.DatabaseUnavailable, _render_unavailable)
    app.register_error_handler(Exception, _render_unexpected)
