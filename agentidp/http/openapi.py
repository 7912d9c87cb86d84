"""The OpenAPI document: it is generated from what the routes of the blueprints declare."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import flask_smorest
import marshmallow as ma
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from flask_smorest.spec.plugins import FlaskPlugin
from werkzeug.routing import Rule

from agentidp.http.errors import (
    ApiError,
    InsufficientScope,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    ValidationError,
)
from agentidp.http.parser import Parser


def _errors_with_a_code(error: type[ApiError]) -> Iterator[type[ApiError]]:
    if "code" in vars(error):
        yield error
    for special in error.__subclasses__():
        yield from _errors_with_a_code(special)


ERRORS = {error.code: error for error in _errors_with_a_code(ApiError) if error.__module__ == ApiError.__module__}
"""Code -> its error. The dashboard has errors of its own with the same codes, which are no part of the API."""

OAUTH_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_scope",
    "invalid_target",
    "invalid_dpop_proof",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "server_error",
)
"""The values of ``error`` at an OAuth endpoint."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's id in the log: the client's own if its characters are plain, otherwise a new one",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750 section 3, RFC 7617)",
        "schema": {"type": "string", "pattern": "^(?:Bearer|Basic|DPoP) "},
    },
    "Retry-After": {
        "description": "Seconds until the client should try again",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "Address of the new object", "schema": {"type": "string", "format": "uri-reference"}},
    "ETag": {
        "description": "Identifies the body. Send it as `If-None-Match` to get 304 while the body is the same",
        "schema": {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    },
    "Cache-Control": {
        "description": "How long the response may be cached",
        "schema": {"type": "string", "const": "private, no-cache"},
    },
    "Vary": {
        "description": "The request headers that the response depends on",
        "schema": {"type": "string", "const": "Authorization, Accept"},
    },
    "AgentIdP-Staleness": {
        "description": "If a read replica served it: seconds by which its data can be older than the primary's",
        "required": False,
        "schema": {"type": "number", "minimum": 0},
    },
    "Link": {
        "description": 'The address of the next page, if there is one, with `rel="next"` (RFC 8288)',
        "required": False,
        "schema": {"type": "string"},
    },
    "Content-Disposition": {
        "description": "The file name, for CSV only (RFC 6266)",
        "required": False,
        "schema": {"type": "string", "pattern": '^attachment; filename="[a-z0-9-]+\\.csv"$'},
    },
}
"""The response headers of the OpenAPI document."""


def camel_case(name: str) -> str:
    """``agent_id`` as our JSON and our addresses spell it: ``agentId``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _documentation(decorate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that documents a view as flask-smorest's *decorate* does, and returns the view itself: flask-smorest
    returns another function, which each call of the view would pass through.
    """

    def documented(view: Any) -> Any:
        view._apidoc = decorate(view)._apidoc
        return view

    return documented


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose ``arguments`` are read by :class:`Parser`, and whose routes are described in the OpenAPI
    document by what they declare: how they authenticate, what they read, and the ids in their address.
    """

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._describe)

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Register a route, and keep what describes it."""
        super().add_url_rule(rule, endpoint, view_func, **options)
        endpoint = self._endpoints[-1]
        declared = {"name": endpoint, "rule": rule, "authentication": getattr(view_func, "authentication", None)}
        for method, described in self._docs[endpoint].items():
            if method != "parameters":
                described["declared"] = declared

    def response(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's. Only documentation: the view returns the whole response."""
        return _documentation(super().response(*args, **kwargs))

    def alt_response(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's. Only documentation."""
        return _documentation(super().alt_response(*args, **kwargs))

    @staticmethod
    def doc(**kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's. Only documentation."""
        return _documentation(flask_smorest.Blueprint.doc(**kwargs))

    def data_response(self, schema: type[ma.Schema], *, has_pages: bool = False) -> Callable[[Any], Any]:
        """Describe a view that returns :func:`agentidp.http.responses.data_response`: JSON, CSV, NDJSON or a 304.

        :param schema: of the JSON.
        :param has_pages: it returns a page, and the address of the next one as a ``Link``.
        """
        names = ("ETag", "Cache-Control", "Vary", "AgentIdP-Staleness", *(("Link",) if has_pages else ()))
        headers = {name: name for name in names}
        file = {"Content-Disposition": "Content-Disposition"}
        unchanged = "The body has not changed since the `ETag` in `If-None-Match` (RFC 9110 section 13.1.2)"

        def decorate(view: Any) -> Any:
            view = self.alt_response(304, description=unchanged, headers=headers)(view)
            view = self.alt_response(200, schema={"type": "string"}, content_type="text/csv", headers=file)(view)
            view = self.alt_response(200, schema={"type": "string"}, content_type="application/x-ndjson")(view)
            return self.response(200, schema, headers=headers)(view)

        return decorate

    @staticmethod
    def _describe(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        declared = doc_info["declared"]
        responses = doc["responses"]
        # The responses that follow from the declarations. The view declares the others.
        # A route that needs an access token returns 400 if a request has two. So does a route that reads arguments.
        is_public = declared["authentication"] in ("public", "client")
        refused: list[type[ApiError]] = [] if is_public and "arguments" not in doc_info else [ValidationError]
        if "requestBody" in doc:
            refused += [PayloadTooLarge, UnsupportedMediaType]
        if "<" in declared["rule"]:
            refused.append(NotFound)
        if is_public:
            doc["security"] = []
        else:
            refused += [Unauthorized, InsufficientScope, ServiceUnavailable]
            doc["security"] = [{"oauth2": [declared["authentication"]]}, {"bearer": []}, {"dpop": []}]
        responses.update({error.status: error.code for error in refused})
        for response in responses.values():
            if isinstance(response, dict):
                response.setdefault("headers", {})["X-Request-Id"] = "X-Request-Id"
        return doc | {"operationId": declared["name"]}


class ErrorSchema(ma.Schema):
    """The body of every error outside OAuth."""

    code = ma.fields.String(required=True, validate=ma.validate.OneOf(sorted(ERRORS)))
    message = ma.fields.String(required=True)
    details = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.String()),
        required=True,
        metadata={"description": "For each field, the rules that it breaks"},
    )


class OAuthErrorSchema(ma.Schema):
    """The body of every error of an OAuth endpoint (RFC 6749 section 5.2)."""

    error = ma.fields.String(required=True, validate=ma.validate.OneOf(OAUTH_ERRORS))
    error_description = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[ !#-\[\]-~]+\Z"))


class DescribedConverter(OpenAPIConverter):
    """Schemas as JSON Schema, with what fields alone cannot say in ``Meta.json_schema``."""

    def schema2jsonschema(self, schema: ma.Schema) -> dict[str, Any]:
        """A schema as JSON Schema."""
        described: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return described | getattr(schema.Meta, "json_schema", {})

    def field2pattern(self, field: ma.fields.Field[Any], **kwargs: Any) -> dict[str, str]:
        """A validator's regular expression as ECMA-262 has it: it matches anywhere, and has no ``\\Z``."""
        pattern = super().field2pattern(field, **kwargs).get("pattern")
        return {"pattern": f"^(?:{pattern.removesuffix(chr(92) + 'Z')})$"} if pattern else {}


class DescribedSchemas(MarshmallowPlugin):
    """apispec's plugin with :class:`DescribedConverter`."""

    Converter = DescribedConverter


class CamelCaseParameters(FlaskPlugin):
    """Routes whose parameters have the names that our JSON has."""

    @staticmethod
    def flaskpath2openapi(path: str) -> str:
        """A Flask rule as an OpenAPI path."""
        return re.sub(r"{(\w+)}", lambda name: f"{{{camel_case(name[1])}}}", FlaskPlugin.flaskpath2openapi(path))

    def rule_to_params(self, rule: Rule) -> list[dict[str, Any]]:
        """The parameters of a Flask rule."""
        return [parameter | {"name": camel_case(parameter["name"])} for parameter in super().rule_to_params(rule)]


class Api(flask_smorest.Api):
    """flask-smorest's, with our own error bodies: each operation names those that it can return."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        super().__init__(
            app, spec_kwargs={"flask_plugin": CamelCaseParameters(), "marshmallow_plugin": DescribedSchemas()}
        )

    def _register_error_handlers(self) -> None:
        """Nothing: :mod:`agentidp.http.error_rendering` renders every error."""

    def _register_responses(self) -> None:
        """The headers, and the errors by their codes; ``OAUTH_`` stands before those of the OAuth endpoints."""
        components = self.spec.components
        for name, header in HEADERS.items():
            components.header(name, {"required": True, **header}, lazy=True)
        for code, error in ERRORS.items():
            own = {"allOf": [ErrorSchema, {"properties": {"code": {"const": code}}}]}
            for name, schema in ((code, own), (f"OAUTH_{code}", OAuthErrorSchema)):
                response = {
                    "description": error.description or code.replace("_", " ").capitalize(),
                    "headers": {header: header for header in ("X-Request-Id", *error.always_sent)},
                    "content": {"application/json": {"schema": schema}},
                }
                components.response(name, response, lazy=True)
