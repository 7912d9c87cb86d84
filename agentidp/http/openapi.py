"""The OpenAPI document: it is generated from what the routes of the blueprints declare."""

from __future__ import annotations

import functools
import http
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint as FlaskBlueprint
from flask import Flask
from werkzeug.routing import Rule

from agentidp.http.error_schemas import ERRORS, error_response
from agentidp.http.errors import (
    ApiError,
    InsufficientScope,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
    ValidationError,
)
from agentidp.http.parser import Parser
from agentidp.http.response_headers import HEADERS

JSON = "application/json"

PARSER = Parser()

_IN_ADDRESS = re.compile(r"<(?:([^:<>]+):)?(\w+)>")
_UUID = {"in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
"""A parameter in an address, unless it is described otherwise (:meth:`Blueprint.parameter`)."""


def camel_case(name: str) -> str:
    """``agent_id`` as our JSON and our addresses spell it: ``agentId``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass
class Declared:
    """What the decorators of a view have declared: what it reads (``json``, ``query``), its parameters and responses as
    the OpenAPI document has them, the codes of its errors by their status, further members of the operation, and the
    name of its tool, with how many items of ``data`` that returns.
    """

    reads: list[str] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    responses: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    tool: tuple[str, int] | None = None


def declared(view: Any) -> Declared:
    """What a view has declared; it can be added to."""
    if not hasattr(view, "declared"):
        view.declared = Declared()
    found: Declared = view.declared
    return found


class Blueprint(FlaskBlueprint):
    """A blueprint whose routes are described in the OpenAPI document by what they declare: how they authenticate, what
    they read, and the ids in their address. Only :meth:`arguments` does anything else.

    :param description: of its operations in the document.
    """

    def __init__(self, name: str, import_name: str, *, description: str = "") -> None:
        super().__init__(name, import_name)
        self.description = description

    def arguments(self, schema: Any, *, location: str = "json", required: bool = True) -> Callable[[Any], Any]:
        """Read the body or the query, which the view gets as its last positional argument.

        :param required: whether there must be a body: only documentation.
        """

        def decorate(view: Any) -> Any:
            @functools.wraps(view)
            def reading(*args: Any, **named: Any) -> Any:
                return view(*args, PARSER.parse(schema, location=location), **named)

            said = declared(reading)
            said.reads.append(location)
            if location == "json":
                said.members["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
            else:
                said.parameters.append({"in": location, "schema": schema})
            return reading

        return decorate

    def tool(self, name: str, *, rows: int = 100) -> Callable[[Any], Any]:
        """Offer a route that reads as a tool of the Model Context Protocol (:mod:`agentidp.mcp.tools`).

        :param rows: items of ``data`` that its result has at most.
        """

        def decorate(view: Any) -> Any:
            declared(view).tool = name, rows
            return view

        return decorate

    def response(
        self,
        status: int,
        schema: Any = None,
        *,
        content_type: str = JSON,
        description: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Callable[[Any], Any]:
        """Describe a response. One status can have several, each with a content type of its own.

        :param headers: each by the name under which the document describes it.
        """

        def decorate(view: Any) -> Any:
            response = declared(view).responses.setdefault(status, {})
            response.setdefault("description", description or http.HTTPStatus(status).phrase)
            response.setdefault("headers", {"X-Request-Id": "X-Request-Id"}).update(headers or {})
            if schema is not None or content_type != JSON:
                content = {} if schema is None else {"schema": schema}
                response.setdefault("content", {})[content_type] = content
            return view

        return decorate

    def parameter(self, described: dict[str, Any]) -> Callable[[Any], Any]:
        """Describe a parameter in the address that is no UUID, or one that a header has."""

        def decorate(view: Any) -> Any:
            declared(view).parameters.append(described)
            return view

        return decorate

    def alt_response(self, status: int, code: str) -> Callable[[Any], Any]:
        """Describe an error, of which a status has one.

        :param code: with ``OAUTH_`` before it at an OAuth endpoint.
        """

        def decorate(view: Any) -> Any:
            declared(view).errors[status] = code
            return view

        return decorate

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
            self.response(304, description=unchanged, headers=headers)(view)
            self.response(200, {"type": "string"}, content_type="text/csv", headers=file)(view)
            self.response(200, {"type": "string"}, content_type="application/x-ndjson")(view)
            return self.response(200, schema, headers=headers)(view)

        return decorate


def document(app: Flask, *, security_schemes: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The OpenAPI document of all blueprints of this module's class.

    :param security_schemes: name -> how a request authenticates.
    :param options: ``title``, ``version`` and further members of the document, as apispec takes them.
    """
    spec = APISpec(openapi_version="3.1.0", plugins=[DescribedSchemas()], **options)
    for name, scheme in security_schemes.items():
        spec.components.security_scheme(name, scheme)
    for name, header in HEADERS.items():
        spec.components.header(name, {"required": True, **header}, lazy=True)
    # Each error twice: as CODE, and as OAUTH_CODE with the body of OAuth's endpoints.
    for name in (*ERRORS, *(f"OAUTH_{code}" for code in ERRORS)):
        spec.components.response(name, error_response(name), lazy=True)
    blueprints = {name: one for name, one in app.blueprints.items() if isinstance(one, Blueprint)}
    for name, blueprint in blueprints.items():
        spec.tag({"name": name, "description": blueprint.description})
    for rule in app.url_map.iter_rules():
        tag, _, name = rule.endpoint.rpartition(".")
        if tag in blueprints:
            operation = _operation(app.view_functions[rule.endpoint], rule)
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            spec.path(
                _IN_ADDRESS.sub(lambda found: f"{{{camel_case(found[2])}}}", rule.rule),
                operations={method.lower(): operation | {"tags": [tag], "operationId": name} for method in methods},
            )
    found: dict[str, Any] = spec.to_dict()
    return found


def _operation(view: Any, rule: Rule) -> dict[str, Any]:
    """What a view declares and its docstring says."""
    said, needs_token = declared(view), view.authentication not in ("public", "client")
    summary, _, description = inspect.cleandoc(view.__doc__).partition("\n\n")
    named = [one["name"] for one in said.parameters if "name" in one]
    ids = [camel_case(name) for _, name in _IN_ADDRESS.findall(rule.rule)]
    parameters = said.parameters + [_UUID | {"name": name} for name in ids if name not in named]
    # Each by its name in the document.
    errors = {error.status: error.code for error in _errors_of_declarations(said, rule, needs_token)}
    return {
        "summary": summary,
        **({"description": description} if description else {}),
        **({"parameters": parameters} if parameters else {}),
        "security": [{"oauth2": [view.authentication]}, {"bearer": []}, {"dpop": []}] if needs_token else [],
        "responses": said.errors | errors | said.responses,
        **said.members,
    }


def _errors_of_declarations(said: Declared, rule: Rule, needs_token: bool) -> Iterator[type[ApiError]]:
    """The errors that follow from what a route declares. The view declares the others."""
    # A request with two access tokens is a 400.
    if needs_token or said.reads:
        yield ValidationError
    if "json" in said.reads:
        yield from (PayloadTooLarge, UnsupportedMediaType)
    if rule.arguments:
        yield NotFound
    if needs_token:
        yield from (Unauthorized, InsufficientScope, RateLimited, ServiceUnavailable)


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
