"""Generates the OpenAPI document from the declarations of the blueprints' routes."""

from __future__ import annotations

import functools
import http
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint as FlaskBlueprint
from flask import Flask
from werkzeug.routing import Rule

from agentidp.http import errors
from agentidp.http.error_schemas import ERRORS, describe_error
from agentidp.http.parser import Parser
from agentidp.http.response_headers import HEADERS

JSON = "application/json"

PARSER = Parser()

_IN_ADDRESS = re.compile(r"<(?:([^:<>]+):)?(\w+)>")
_UUID = {"in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
"""Default description of a path parameter. :meth:`Blueprint.parameter` replaces it."""


def to_camel_case(name: str) -> str:
    """Return a name in the spelling of JSON and paths: ``agentId`` for ``agent_id``."""
    first_word, *further_words = name.split("_")
    return first_word + "".join(word.capitalize() for word in further_words)


@dataclass
class Declarations:
    """The declarations of a view's decorators, most of them in the form of the OpenAPI document.

    :ivar authentication: the scope that a token needs, or ``session`` (of the dashboard), ``client`` or ``public``. A
        test fails on a route without authentication.
    :ivar session_scopes: the scopes of which a session of the dashboard needs at least one; empty for any session.
    :ivar has_oauth_errors: whether the view's errors have the form of RFC 6749 section 5.2.
    :ivar reads: the parts of the request that the view reads: ``json``, ``query`` or both.
    :ivar errors: status -> the code of the error.
    :ivar members: further members of the operation.
    :ivar tool: the name of the view's MCP tool and its maximum number of items of ``data``; ``None`` without a tool.
    """

    authentication: str | None = None
    session_scopes: tuple[str, ...] = ()
    has_oauth_errors: bool = False
    reads: list[str] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    responses: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    tool: tuple[str, int] | None = None


def declarations_of(view: Any) -> Declarations:
    """Return the declarations of a view, which the first call creates."""
    if not hasattr(view, "declared"):
        # functools.wraps copies this attribute to the view's later wrappers, so they share one object.
        view.declared = Declarations()
    declarations: Declarations = view.declared
    return declarations


def _decorator(declare: Callable[[Declarations], object]) -> Callable[[Any], Any]:
    def decorate(view: Any) -> Any:
        declare(declarations_of(view))
        return view

    return decorate


class Blueprint(FlaskBlueprint):
    """A blueprint whose routes appear in the OpenAPI document.

    Its decorators describe the routes. Only :meth:`arguments` and :meth:`tool` affect more than the document.
    """

    def __init__(self, name: str, import_name: str, *, description: str = "") -> None:
        super().__init__(name, import_name)
        self.description = description

    def arguments(self, schema: Any, *, location: str = "json", required: bool = True) -> Callable[[Any], Any]:
        """Parse and check the body (``json``) or the query, and pass it to the view as its last positional argument.

        :param location: ``json`` or ``query``.
        :param required: whether the body is required, for the document only.
        """

        def decorate(view: Any) -> Any:
            @functools.wraps(view)
            def view_with_arguments(*args: Any, **kwargs: Any) -> Any:
                return view(*args, PARSER.parse(schema, location=location), **kwargs)

            declarations = declarations_of(view_with_arguments)
            declarations.reads.append(location)
            if location == "json":
                declarations.members["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
            else:
                declarations.parameters.append({"in": location, "schema": schema})
            return view_with_arguments

        return decorate

    def tool(self, name: str | None, *, rows: int = 100) -> Callable[[Any], Any]:
        """Offer a read-only route as a tool of the Model Context Protocol.

        :param name: the name of the tool; ``None`` for no tool.
        :param rows: the maximum number of items of ``data`` in the tool's result.
        """
        return _decorator(lambda declarations: setattr(declarations, "tool", name and (name, rows)))

    def response(
        self,
        status: int,
        schema: Any = None,
        *,
        content_type: str = JSON,
        description: str | None = None,
        headers: Iterable[str] = (),
    ) -> Callable[[Any], Any]:
        """Describe a response of a view. A status can have several responses with different content types.

        :param headers: names in :data:`~agentidp.http.response_headers.HEADERS`.
        """

        def declare(declarations: Declarations) -> None:
            response_object = declarations.responses.setdefault(status, {})
            response_object.setdefault("description", description or http.HTTPStatus(status).phrase)
            response_headers = response_object.setdefault("headers", {})
            response_headers |= {header_name: header_name for header_name in ("X-Request-Id", *headers)}
            if schema is not None or content_type != JSON:
                media_type_object = {} if schema is None else {"schema": schema}
                response_object.setdefault("content", {})[content_type] = media_type_object

        return _decorator(declare)

    def parameter(self, parameter: dict[str, Any]) -> Callable[[Any], Any]:
        """Describe a header, or a path parameter that is not a UUID."""
        return _decorator(lambda declarations: declarations.parameters.append(parameter))

    def alt_response(self, status: int, code: str) -> Callable[[Any], Any]:
        """Describe the error response of a view for a status.

        :param code: the error's code, prefixed with ``OAUTH_`` for an OAuth endpoint.
        """
        return _decorator(lambda declarations: declarations.errors.update({status: code}))

    def data_response(self, schema: type[ma.Schema], *, has_pages: bool = False) -> Callable[[Any], Any]:
        """Describe a view that returns :func:`agentidp.http.responses.data_response`.

        :param has_pages: whether the view returns one page of a list, with the next page's URL in ``Link``.
        """
        headers = ["ETag", "Cache-Control", "Vary", "AgentIdP-Staleness", *(["Link"] if has_pages else [])]
        not_modified_response = "The body has not changed since the `ETag` in `If-None-Match` (RFC 9110 section 13.1.2)"

        def decorate(view: Any) -> Any:
            self.response(304, description=not_modified_response, headers=headers)(view)
            # JSON comes first, because generated clients use the first content type.
            self.response(200, schema, headers=headers)(view)
            self.response(200, {"type": "string"}, content_type="text/csv", headers=["Content-Disposition"])(view)
            return self.response(200, {"type": "string"}, content_type="application/x-ndjson")(view)

        return decorate


def build_document(app: Flask, *, security_schemes: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the OpenAPI document of an application's blueprints.

    :param security_schemes: name -> a way to authenticate requests, in the form of the document.
    :param options: arguments of :class:`apispec.APISpec`, such as ``title`` and ``version``.
    """
    spec = APISpec(openapi_version="3.1.0", plugins=[DescribedSchemas()], **options)
    _add_components(spec, security_schemes)
    blueprints = {
        tag_name: blueprint for tag_name, blueprint in app.blueprints.items() if isinstance(blueprint, Blueprint)
    }
    for tag_name, blueprint in blueprints.items():
        spec.tag({"name": tag_name, "description": blueprint.description})
    for url_rule in app.url_map.iter_rules():
        blueprint_name, _, operation_id = url_rule.endpoint.rpartition(".")
        if blueprint_name in blueprints:
            operation = _describe_operation(app.view_functions[url_rule.endpoint], url_rule)
            methods = (url_rule.methods or set()) - {"HEAD", "OPTIONS"}
            spec.path(
                _IN_ADDRESS.sub(lambda match: f"{{{to_camel_case(match[2])}}}", url_rule.rule),
                operations={
                    method.lower(): operation | {"tags": [blueprint_name], "operationId": operation_id}
                    for method in methods
                },
            )
    document: dict[str, Any] = spec.to_dict()
    return document


def _add_components(spec: APISpec, security_schemes: dict[str, Any]) -> None:
    for scheme_name, security_scheme in security_schemes.items():
        spec.components.security_scheme(scheme_name, security_scheme)
    for header_name, header in HEADERS.items():
        spec.components.header(header_name, {"required": True, **header}, lazy=True)
    # Each error has a second description, under OAUTH_ and its code, because its body differs at OAuth endpoints.
    for error_name in (*ERRORS, *(f"OAUTH_{error_code}" for error_code in ERRORS)):
        spec.components.response(error_name, describe_error(error_name), lazy=True)


def _describe_operation(view: Any, rule: Rule) -> dict[str, Any]:
    declarations = declarations_of(view)
    needs_token = declarations.authentication not in ("public", "client")
    summary, _, description = inspect.cleandoc(view.__doc__).partition("\n\n")
    described_names = [parameter.get("name") for parameter in declarations.parameters]
    parameter_names = [to_camel_case(parameter_name) for _, parameter_name in _IN_ADDRESS.findall(rule.rule)]
    parameters = declarations.parameters + [
        _UUID | {"name": parameter_name} for parameter_name in parameter_names if parameter_name not in described_names
    ]
    error_codes = {error.status: error.code for error in _implied_errors(declarations, rule, needs_token)}
    return {
        "summary": summary,
        **({"description": description} if description else {}),
        **({"parameters": parameters} if parameters else {}),
        "security": [{"oauth2": [declarations.authentication]}, {"bearer": []}, {"dpop": []}] if needs_token else [],
        "responses": declarations.errors | error_codes | declarations.responses,
        **declarations.members,
    }


def _implied_errors(declarations: Declarations, rule: Rule, needs_token: bool) -> Iterator[type[errors.ApiError]]:
    """Yield the errors that a route can return without its view declaring them."""
    # A view that needs a token refuses unknown parameters and a second token, even if it declares no arguments.
    if needs_token or declarations.reads:
        yield errors.ValidationError
    if "json" in declarations.reads:
        yield from (errors.PayloadTooLarge, errors.UnsupportedMediaType)
    if rule.arguments:
        yield errors.NotFound
    if needs_token:
        yield from (errors.Unauthorized, errors.InsufficientScope, errors.RateLimited, errors.ServiceUnavailable)


class DescribedConverter(OpenAPIConverter):
    """Converts schemas to JSON Schema. ``Meta.json_schema`` adds rules that marshmallow's fields cannot express."""

    def schema2jsonschema(self, schema: ma.Schema) -> dict[str, Any]:
        """Return a schema as JSON Schema."""
        json_schema: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return json_schema | getattr(schema.Meta, "json_schema", {})

    def field2pattern(self, field: ma.fields.Field[Any], **kwargs: Any) -> dict[str, str]:
        """Return a field's regular expression in the syntax of ECMA-262. It matches whole texts only."""
        pattern = super().field2pattern(field, **kwargs).get("pattern")
        return {"pattern": f"^(?:{pattern.removesuffix(chr(92) + 'Z')})$"} if pattern else {}


class DescribedSchemas(MarshmallowPlugin):
    Converter = DescribedConverter
