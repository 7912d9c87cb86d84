"""Creates and calls the tools, which are routes with the decorator :meth:`agentidp.http.openapi.Blueprint.tool`.

A tool's definition comes from the route's operation in the OpenAPI document. Calling a tool runs the route's view.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Flask, Response
from werkzeug.routing import Rule

from agentidp.caller import Caller
from agentidp.http.errors import ApiError, Unauthorized, ValidationError
from agentidp.http.openapi import declarations_of, to_camel_case
from agentidp.http.parser import check_parameters
from agentidp.http.request_context import current_context, current_request

MAX_QUERY = 4096
"""Maximum characters of a tool's arguments, encoded as a query. nginx accepts request lines of up to 8 KB."""

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')
READS = {"readOnlyHint": True, "openWorldHint": False}


@dataclass(frozen=True)
class Tool:
    """A route of the API that is a tool of the Model Context Protocol.

    :param definition: the tool's definition in the result of ``tools/list``.
    :param max_rows: maximum number of items of ``data`` in a result.
    """

    rule: Rule
    scope: str
    definition: dict[str, Any]
    max_rows: int


def build_tools(app: Flask, document: dict[str, Any]) -> dict[str, Tool]:
    """Return the tools of an application by name, from the OpenAPI document."""
    tools = {}
    for url_rule in app.url_map.iter_rules():
        declarations = declarations_of(app.view_functions[url_rule.endpoint])
        if declarations.tool:
            tool_name, max_rows = declarations.tool
            definition = _build_definition(tool_name, _find_operation(document, url_rule), document)
            tools[tool_name] = Tool(url_rule, declarations.authentication or "", definition, max_rows)
    return tools


def _find_operation(document: dict[str, Any], rule: Rule) -> dict[str, Any]:
    operation_id = rule.endpoint.rpartition(".")[2]
    operations: list[dict[str, Any]] = [
        path_item["get"] for path_item in document["paths"].values() if "get" in path_item
    ]
    return next(operation for operation in operations if operation["operationId"] == operation_id)


def _build_definition(tool_name: str, operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    properties = {
        parameter["name"]: parameter["schema"] | {"description": parameter.get("description", "")}
        for parameter in parameters
    }
    schemas = document["components"]["schemas"]
    schema_name = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return {
        "name": tool_name,
        "description": "\n\n".join(filter(None, (operation["summary"], operation.get("description")))),
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": [parameter["name"] for parameter in parameters if parameter.get("required")],
            "additionalProperties": False,
        },
        "outputSchema": _add_schema_definitions(schemas[schema_name], schemas),
        "annotations": READS,
    }


def _add_schema_definitions(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a JSON schema, with ``$defs`` for all schemas to which it refers."""
    definitions: dict[str, Any] = {}
    referenced_names = _REFERENCE.findall(json.dumps(schema))
    while referenced_names:
        schema_name = referenced_names.pop()
        if schema_name not in definitions:
            definitions[schema_name] = schemas[schema_name]
            referenced_names += _REFERENCE.findall(json.dumps(schemas[schema_name]))
    schema_json = json.dumps(schema | ({"$defs": definitions} if definitions else {}))
    complete_schema: dict[str, Any] = json.loads(_REFERENCE.sub(r'"#/$defs/\1"', schema_json))
    return complete_schema


def call_tool(app: Flask, tool: Tool, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Call a tool, and return the result of ``tools/call``. A route's error, except 401 and 5xx, is a result too."""
    mcp_context = current_context()
    try:
        with app.request_context(_build_environ(tool, arguments)):
            route_context, request = current_context(), current_request()
            route_context.started, route_context.at, route_context.request_id = (
                mcp_context.started,
                mcp_context.at,
                mcp_context.request_id,
            )
            route_context.caller, route_context.max_rows = caller, tool.max_rows
            # __wrapped__ skips bearer(), the outermost decorator, because the MCP request was authenticated.
            view: Any = app.view_functions[tool.rule.endpoint]
            if "query" not in declarations_of(view).reads:
                check_parameters(request.args)
            response: Response = view.__wrapped__(caller, **request.view_args or {})
    except Unauthorized:
        raise
    except ApiError as error:
        if error.status >= 500:
            raise
        return {"content": [_text_item(_format_error(error))], "isError": True}
    response_text = response.get_data(as_text=True)
    return _build_result(json.loads(response_text), response_text, tool.max_rows, route_context.row_count)


def _build_result(body: dict[str, Any], body_json: str, max_rows: int, row_count: int = 0) -> dict[str, Any]:
    """Return the result of ``tools/call`` for a route's body. ``data`` is cut off after *max_rows* items, with a note.

    :param row_count: the number of items before the view itself cut off ``data``; 0 if it did not.
    """
    data_items = body.get("data")
    row_count = row_count or (len(data_items) if isinstance(data_items, list) else 0)
    if data_items is None or row_count <= max_rows:
        return {"content": [_text_item(body_json)], "structuredContent": body, "isError": False}
    note = f"These are the first {max_rows} of {row_count} items of data. Narrow the request to see the others."
    # Only views that respond with data_response() have already limited data to max_rows items and set row_count.
    if len(data_items) > max_rows:
        body = body | {"data": data_items[:max_rows]}
        body_json = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    content = [_text_item(body_json), _text_item(note)]
    meta_members = {"agentidp/items": {"returned": max_rows, "of": row_count}}
    return {"content": content, "structuredContent": body, "isError": False, "_meta": meta_members}


def _text_item(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _format_error(error: ApiError) -> str:
    detail_phrases = "; ".join(f"{name} {', '.join(broken_rules)}" for name, broken_rules in error.details.items())
    return f"{error.message} {detail_phrases}".strip()


def _build_environ(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment of a GET request to the tool's route, from the client of the MCP request."""
    path, query_arguments = tool.rule.rule, dict(arguments)
    for path_parameter in tool.rule.arguments:
        argument_name = to_camel_case(path_parameter)
        try:
            path = path.replace(f"<uuid:{path_parameter}>", str(UUID(query_arguments.pop(argument_name, None))))
        except (TypeError, ValueError, AttributeError):
            raise ValidationError(details={argument_name: ["must be a UUID"]}) from None
    mcp_environ = current_request().environ
    # The variables with the client's address are copied from the MCP request, and its headers are not.
    connection_variables = {
        variable: value for variable, value in mcp_environ.items() if not variable.startswith(("HTTP_", "CONTENT_"))
    }
    return connection_variables | {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": _encode_query(query_arguments),
        # The client's Host header is not used, because routing would refuse some hosts.
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
    }


def _encode_query(arguments: dict[str, Any]) -> str:
    argument_texts = {name: _as_text(name, value) for name, value in arguments.items() if value is not None}
    query_string = urlencode(argument_texts, errors="replace")
    if len(query_string) > MAX_QUERY:
        raise ValidationError(details={"arguments": [f"must have at most {MAX_QUERY} characters, as a query"]})
    return query_string


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise ValidationError(details={name: ["must be a string, a number or a boolean"]})
    return value if isinstance(value, str) else json.dumps(value)
