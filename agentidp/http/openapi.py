"""The OpenAPI document: it is generated from what the routes of the blueprints declare."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import flask_smorest
import marshmallow as ma
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from flask_smorest.spec.plugins import FlaskPlugin
from werkzeug.routing import Rule

from agentidp.http.error_schemas import ERRORS, described_errors, error_response
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
from agentidp.http.response_headers import HEADERS


def camel_case(name: str) -> str:
    """``agent_id`` as our JSON and our addresses spell it: ``agentId``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _without_wrapper(decorate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that documents a view as flask-smorest's *decorate* does, and returns the view itself: flask-smorest
    returns another function, which each call of the view would pass through.
    """

    def document(view: Any) -> Any:
        view._apidoc = decorate(view)._apidoc
        return view

    return document


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose ``arguments`` are read by :class:`Parser`, and whose routes are described in the OpenAPI
    document by what they declare: how they authenticate, what they read, and the ids in their address.
    """

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._complete_operation)

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Register a route, and keep what describes it."""
        super().add_url_rule(rule, endpoint, view_func, **options)
        endpoint = self._endpoints[-1]
        route = {"name": endpoint, "rule": rule, "authentication": getattr(view_func, "authentication", None)}
        for method, doc_info in self._docs[endpoint].items():
            if method != "parameters":
                doc_info["route"] = route

    def arguments(self, schema: Any, *, location: str = "json", required: bool = True) -> Callable[[Any], Any]:
        """As flask-smorest's, which calls a view through two more functions. The view gets what was read as its last
        positional argument.

        :param required: whether there must be a body: only documentation.
        """
        describe = super().arguments(schema, location=location, required=required)
        parse = self.ARGUMENTS_PARSER.parse

        def decorate(view: Any) -> Any:
            @functools.wraps(view)
            def reading(*args: Any, **named: Any) -> Any:
                return view(*args, parse(schema, location=location), **named)

            reading._apidoc = describe(view)._apidoc  # type: ignore[attr-defined]
            return reading

        return decorate

    def response(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's. Only documentation: the view returns the whole response."""
        return _without_wrapper(super().response(*args, **kwargs))

    def alt_response(self, status: int, code: str | None = None, **kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's, and several errors can have one status. Only documentation.

        :param code: of an error; with ``OAUTH_`` before it at an OAuth endpoint.
        """
        if code is None:
            return _without_wrapper(super().alt_response(status, **kwargs))

        def add_error(view: Any) -> Any:
            view._apidoc = deepcopy(getattr(view, "_apidoc", {}))
            view._apidoc.setdefault("errors", {}).setdefault(status, []).append(code)
            return view

        return add_error

    @staticmethod
    def doc(**kwargs: Any) -> Callable[[Any], Any]:
        """As flask-smorest's. Only documentation."""
        return _without_wrapper(flask_smorest.Blueprint.doc(**kwargs))

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
    def _complete_operation(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The last of the callbacks with which flask-smorest makes an operation of the document.

        :param doc: the operation so far.
        :param doc_info: what the decorators of the view and :meth:`add_url_rule` have kept.
        """
        route = doc_info["route"]
        needs_token = route["authentication"] not in ("public", "client")
        codes: dict[int, list[str]] = doc_info.get("errors", {})
        for error in _errors_of_declarations(doc, doc_info, needs_token):
            codes.setdefault(error.status, []).append(error.code)
        responses = doc["responses"]
        responses.update({status: described_errors(of_status) for status, of_status in codes.items()})
        _add_request_id(responses)
        scope = route["authentication"]
        security = [{"oauth2": [scope]}, {"bearer": []}, {"dpop": []}] if needs_token else []
        return doc | {"security": security, "operationId": route["name"]}


def _errors_of_declarations(
    doc: dict[str, Any], doc_info: dict[str, Any], needs_token: bool
) -> Iterator[type[ApiError]]:
    """The errors that follow from what a route declares. The view declares the others."""
    # A request with two access tokens is a 400.
    if needs_token or "arguments" in doc_info:
        yield ValidationError
    if "requestBody" in doc:
        yield from (PayloadTooLarge, UnsupportedMediaType)
    if "<" in doc_info["route"]["rule"]:
        yield NotFound
    if needs_token:
        yield from (Unauthorized, InsufficientScope, ServiceUnavailable)


def _add_request_id(responses: dict[Any, Any]) -> None:
    """Add the header that every response has. A string is the name of a response that has it already."""
    for response in responses.values():
        if isinstance(response, dict):
            response.setdefault("headers", {})["X-Request-Id"] = "X-Request-Id"


class DescribedConverter(OpenAPIConverter):
    """Schemas as JSON Schema, with what fields alone cannot say in ``Meta.json_schema``."""

    def schema2jsonschema(self, schema: ma.Schema) -> dict[str, Any]:
        """A schema as JSON Schema."""
        json_schema: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return json_schema | getattr(schema.Meta, "json_schema", {})

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
        """The headers, and each error twice: as ``CODE``, and as ``OAUTH_CODE`` with the body of OAuth's endpoints."""
        components = self.spec.components
        for name, header in HEADERS.items():
            components.header(name, {"required": True, **header}, lazy=True)
        for name in (*ERRORS, *(f"OAUTH_{code}" for code in ERRORS)):
            components.response(name, error_response(name), lazy=True)
