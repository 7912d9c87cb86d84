"""The tools: each is a route that is marked as one (:meth:`agentidp.http.openapi.Blueprint.tool`).

What a tool is comes from the OpenAPI document, which comes from the route: its arguments are the route's parameters,
its description the view's docstring, its result the route's body. Calling it calls the route's view.
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
"""Characters of the arguments: as many as of a line that nginx passes on."""

READS = {"readOnlyHint": True, "openWorldHint": False}


@dataclass(frozen=True)
class Tool:
    """A route as a tool.

    :param scope: that its caller needs.
    :param definition: as ``tools/list`` returns it.
    :param rows: items of ``data`` that a result has at most.
    """

    rule: Rule
    scope: str
    definition: dict[str, Any]
    rows: int


def tools_of(app: Flask, document: dict[str, Any]) -> dict[str, Tool]:
    """The tools by their names.

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
    """A schema with those that it refers to inside."""
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
    """The result of a tool, in the terms of ``tools/call``: the body of its route, or its error.

    :raises Unauthorized: the token is refused, which is no error of the tool.
    """
    outer = current_context()
    try:
        with app.request_context(_environ(tool, arguments)):
            inner, received = current_context(), current_request()
            inner.started, inner.at, inner.request_id = outer.started, outer.at, outer.request_id
            inner.caller = caller
            # Below the decorator that authenticates, which the request for the tool has passed.
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
    return _bounded(body, text, tool.rows)


def _bounded(body: dict[str, Any], text: str, rows: int) -> dict[str, Any]:
    """The body as content, cut off after so many rows, which is said."""
    data = body.get("data")
    if not isinstance(data, list) or len(data) <= rows:
        return {"content": [_text(text)], "structuredContent": body, "isError": False}
    said = f"These are the first {rows} of {len(data)} items of data. Ask for less to see others."
    body = body | {"data": data[:rows]}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    shown = {"agentidp/items": {"returned": rows, "of": len(data)}}
    return {"content": [_text(text), _text(said)], "structuredContent": body, "isError": False, "_meta": shown}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _sentence(error: ApiError) -> str:
    """What is wrong, with the field and the rule."""
    rules = "; ".join(f"{name} {', '.join(found)}" for name, found in error.details.items())
    return f"{error.message} {rules}".strip()


def _environ(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The environment of the request that the tool stands for: a GET of its route by the same client.

    :raises ValidationError: an id in its address is missing, or the arguments are too long.
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
        # Not the client's: routing refuses some, such as a label of 64 characters, and no answer depends on it.
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
    }


def _spelled(name: str, value: Any) -> str:
    """An argument as the query has it.

    :raises ValidationError: no parameter can have it.
    """
    if isinstance(value, dict | list):
        raise ValidationError(details={name: ["must be a string, a number or a boolean"]})
    return value if isinstance(value, str) else json.dumps(value)
