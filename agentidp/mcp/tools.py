"""Creates and calls the tools. A route becomes a tool by :meth:`agentidp.http.openapi.Blueprint.tool`.

A tool's definition comes from the route's operation in the OpenAPI document. Its arguments are the route's parameters,
its description is the view's docstring, and its result is the route's response body. A call runs the route's view.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Flask, Response
from werkzeug.routing import Rule

from agentidp.caller import Caller
from agentidp.http.errors import ApiError, Unauthorized, ValidationError
from agentidp.http.openapi import camel_case, declared
from agentidp.http.parser import check_parameters
from agentidp.http.request_context import current_context, current_request

MAX_QUERY = 4096
"""Maximum characters of the arguments as a query, about the length of a request line that nginx accepts."""

READS = {"readOnlyHint": True, "openWorldHint": False}


@dataclass(frozen=True)
class Tool:
    """A route as a tool.

    :param scope: the scope that the caller needs.
    :param definition: the tool's definition in the result of ``tools/list``.
    :param rows: maximum number of items of ``data`` in a result.
    """

    rule: Rule
    scope: str
    definition: dict[str, Any]
    rows: int


def tools_of(app: Flask, document: dict[str, Any]) -> dict[str, Tool]:
    """Return the tools by name.

    :param document: the OpenAPI document.
    """
    found = {}
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        marked = getattr(view, "declared", None) and declared(view).tool
        if marked:
            name, rows = marked
            operation = _operation(document, rule)
            found[name] = Tool(rule, view.authentication, _definition(name, operation, document), rows)
    return found


def _operation(document: dict[str, Any], rule: Rule) -> dict[str, Any]:
    name = rule.endpoint.rpartition(".")[2]
    operations: list[dict[str, Any]] = [one["get"] for one in document["paths"].values() if "get" in one]
    return next(one for one in operations if one["operationId"] == name)


def _definition(name: str, operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    described = {one["name"]: one["schema"] | {"description": one.get("description", "")} for one in parameters}
    schemas = document["components"]["schemas"]
    body = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return {
        "name": name,
        "description": "\n\n".join(filter(None, (operation["summary"], operation.get("description")))),
        "inputSchema": {
            "type": "object",
            "properties": described,
            "required": [one["name"] for one in parameters if one.get("required")],
            "additionalProperties": False,
        },
        "outputSchema": _standing_alone(schemas[body], schemas),
        "annotations": READS,
    }


def _standing_alone(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that contains, in ``$defs``, all schemas that it refers to."""
    needed: dict[str, Any] = {}

    def moved(part: Any) -> Any:
        if isinstance(part, list):
            return [moved(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            if name not in needed:
                needed[name] = {}
                needed[name] = moved(schemas[name])
            return {"$ref": f"#/$defs/{name}"}
        return {key: moved(value) for key, value in part.items()}

    whole: dict[str, Any] = moved(schema)
    return whole | ({"$defs": needed} if needed else {})


def call(app: Flask, tool: Tool, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Call a tool, and return the result for ``tools/call``: the body or the error of the tool's route.

    :raises Unauthorized: the token is rejected, which is not an error of the tool.
    """
    outer = current_context()
    try:
        with app.request_context(_environ(tool, arguments)):
            inner, received = current_context(), current_request()
            inner.started, inner.at, inner.request_id = outer.started, outer.at, outer.request_id
            inner.caller, inner.max_rows = caller, tool.rows
            # The MCP request was already authenticated, so the view is called without its authentication decorator.
            view: Any = app.view_functions[tool.rule.endpoint]
            if "query" not in declared(view).reads:
                check_parameters(received.args)
            response: Response = view.__wrapped__(caller, **received.view_args or {})
    except Unauthorized:
        raise
    except ApiError as error:
        if error.status >= 500:
            raise
        return {"content": [_text(_sentence(error))], "isError": True}
    text = response.get_data(as_text=True)
    body = json.loads(text)
    return _bounded(body, text, tool.rows, inner.row_count)


def _bounded(body: dict[str, Any], text: str, rows: int, row_count: int = 0) -> dict[str, Any]:
    """Return the body as content. If ``data`` has more than *rows* items, cut it off and tell the client.

    :param row_count: the number of items before a view cut them off; 0 if it did not.
    """
    data = body.get("data")
    row_count = row_count or (len(data) if isinstance(data, list) else 0)
    if data is None or row_count <= rows:
        return {"content": [_text(text)], "structuredContent": body, "isError": False}
    said = f"These are the first {rows} of {row_count} items of data. Ask for less to see others."
    if len(data) > rows:
        body = body | {"data": data[:rows]}
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    shown = {"agentidp/items": {"returned": rows, "of": row_count}}
    return {"content": [_text(text), _text(said)], "structuredContent": body, "isError": False, "_meta": shown}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _sentence(error: ApiError) -> str:
    rules = "; ".join(f"{name} {', '.join(found)}" for name, found in error.details.items())
    return f"{error.message} {rules}".strip()


def _environ(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment for a GET request to the tool's route by the same client.

    :raises ValidationError: an ID for the route's path is missing or invalid, or the arguments are too long.
    """
    path, given = tool.rule.rule, dict(arguments)
    for name in tool.rule.arguments:
        member = camel_case(name)
        try:
            path = path.replace(f"<uuid:{name}>", str(UUID(given.pop(member, None))))
        except (TypeError, ValueError, AttributeError):
            raise ValidationError(details={member: ["must be a UUID"]}) from None
    pairs = [(name, _spelled(name, value)) for name, value in given.items() if value is not None]
    query = urlencode(pairs, errors="replace")
    if len(query) > MAX_QUERY:
        raise ValidationError(details={"arguments": [f"must have at most {MAX_QUERY} characters, as a query"]})
    outer = current_request().environ
    headers = {name: value for name, value in outer.items() if not name.startswith(("HTTP_", "CONTENT_"))}
    return headers | {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        # Routing refuses some values of the client's Host header, and no tool depends on it.
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
    }


def _spelled(name: str, value: Any) -> str:
    """Return an argument's value as a string for the query, and refuse objects and lists."""
    if isinstance(value, dict | list):
        raise ValidationError(details={name: ["must be a string, a number or a boolean"]})
    return value if isinstance(value, str) else json.dumps(value)
