"""``POST /api/v1/mcp``: the Model Context Protocol over streamable HTTP, without sessions and streams."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from flask import Response, current_app

from agentidp.caller import Caller, bearer
from agentidp.http.error_schemas import ErrorSchema
from agentidp.http.errors import ApiError, UnsupportedMediaType
from agentidp.http.openapi import Blueprint, declarations_of
from agentidp.http.request_context import current_request
from agentidp.mcp import messages
from agentidp.mcp.messages import HANDSHAKE, METHOD_NOT_FOUND, STATELESS, Message, RpcError
from agentidp.mcp.tools import Tool, build_tools, call_tool
from agentidp.operations.api_docs import openapi_document

INSTRUCTIONS = (
    "Exact counts of the access tokens and requests of an organization's agents, and unusual activity. Days and hours "
    "are UTC. Begin with findings for problems, agents_of_the_month for the agents with most tokens, and quotas for "
    "the tokens that are left."
)
EXTENSION = "agentidp-mcp-tools"

REQUEST = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["string", "number"]},
        "method": {"type": "string"},
        "params": {"type": "object"},
    },
}
ERROR = {"anyOf": [ErrorSchema, {"type": "object", "required": ["jsonrpc", "error"]}]}

CACHING = {"ttlMs": 3_600_000, "cacheScope": "private"}
"""Members of results that clients may cache, because the results depend only on the release and the token's scopes."""

blueprint = Blueprint("mcp", __name__, description="The analytics as tools of the Model Context Protocol")


class ForeignOrigin(ApiError):
    """403: a page of another web site sent the request."""

    status, code, message = 403, "FORBIDDEN", "A page of another site must not send requests here."


@blueprint.route("/api/v1/mcp", methods=["POST"])
@bearer("analytics:read")
@blueprint.response(200, {"type": "object"}, description="A JSON-RPC response")
@blueprint.response(202, description="A notification was received")
@blueprint.response(400, ERROR, description="A JSON-RPC error, or an error of this API")
@blueprint.response(404, ERROR, description="A JSON-RPC error: the method does not exist")
@blueprint.alt_response(413, "PAYLOAD_TOO_LARGE")
@blueprint.alt_response(415, "UNSUPPORTED_MEDIA_TYPE")
def mcp(caller: Caller) -> Response:
    """Receive a message of the Model Context Protocol. The tools only read, and each is an operation of this API."""
    request = current_request()
    _refuse_foreign_origin(request.environ.get("HTTP_ORIGIN"), caller.settings.issuer)
    request_body = request.get_data()
    if request.mimetype != "application/json":
        raise UnsupportedMediaType
    try:
        message = messages.read_message(request_body, request.headers)
    except RpcError as error:
        return _json_response(messages.error_response(error.id, error), 400)
    if message.id is None:
        return Response(status=202)
    try:
        if message.is_stateless:
            messages.check_envelope(message, request.headers)
        if message.method not in _METHODS:
            raise RpcError(METHOD_NOT_FOUND, f"there is no method {message.method}")
        return _json_response(_METHODS[message.method](message, caller))
    except RpcError as error:
        # Clients of revisions with a handshake expect JSON-RPC errors with status 200. Clients of stateless revisions
        # expect 404 for an unknown method, and otherwise 400.
        response_status = 200 if not message.is_stateless else 404 if error.code == METHOD_NOT_FOUND else 400
        return _json_response(messages.error_response(message.id, error), response_status)


declarations_of(mcp).members["requestBody"] = {"required": True, "content": {"application/json": {"schema": REQUEST}}}


def _refuse_foreign_origin(origin: str | None, issuer: str) -> None:
    url = urlsplit(issuer)
    if origin is not None and origin != f"{url.scheme}://{url.netloc}":
        raise ForeignOrigin


def _discover(message: Message, _: Caller) -> dict[str, Any]:
    return message.result(supportedVersions=[*STATELESS, *HANDSHAKE], **_describe_server(), **CACHING)


def _offer_revision(message: Message, _caller: Caller) -> dict[str, Any]:
    requested_revision = message.params.get("protocolVersion")
    offered_revision = requested_revision if requested_revision in HANDSHAKE else HANDSHAKE[0]
    return message.result(protocolVersion=offered_revision, **_describe_server(), serverInfo=_build_server_info())


def _list_tools(message: Message, caller: Caller) -> dict[str, Any]:
    tool_definitions = [tool.definition for tool in _get_tools().values() if tool.scope in caller.scopes]
    return message.result(tools=tool_definitions, **CACHING)


def _call_tool(message: Message, caller: Caller) -> dict[str, Any]:
    tool_name, arguments = message.params.get("name"), message.params.get("arguments")
    tool = _get_tools().get(tool_name) if isinstance(tool_name, str) else None
    if tool is None or tool.scope not in caller.scopes:
        raise RpcError(messages.INVALID_PARAMS, f"there is no tool {tool_name}, or the token lacks its scope")
    if not isinstance(arguments, dict | None):
        raise RpcError(messages.INVALID_PARAMS, "arguments must be an object")
    return message.result(**call_tool(current_app, tool, arguments or {}, caller))


_METHODS: dict[str, Callable[[Message, Caller], dict[str, Any]]] = {
    "server/discover": _discover,
    "initialize": _offer_revision,
    # The result of ping must be empty, so it has no resultType.
    "ping": lambda message, _: {"jsonrpc": "2.0", "id": message.id, "result": {}},
    "tools/list": _list_tools,
    "tools/call": _call_tool,
}


def _describe_server() -> dict[str, Any]:
    return {
        "capabilities": {"tools": {}},
        "instructions": INSTRUCTIONS,
        "_meta": {"io.modelcontextprotocol/serverInfo": _build_server_info()},
    }


def _build_server_info() -> dict[str, str]:
    return {"name": "agentidp", "title": "AgentIdP", "version": importlib.metadata.version("agentidp")}


def _get_tools() -> dict[str, Tool]:
    app = current_app
    if EXTENSION not in app.extensions:
        app.extensions[EXTENSION] = build_tools(app, openapi_document())
    tools: dict[str, Tool] = app.extensions[EXTENSION]
    return tools


def _json_response(body: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON response in ASCII, because a client's strings may contain lone surrogates."""
    return Response(json.dumps(body, separators=(",", ":")), status, mimetype="application/json")
