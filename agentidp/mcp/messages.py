"""Parses and builds messages of the Model Context Protocol: JSON-RPC 2.0 in the body of a POST request.

Since revision 2026-07-28 each request names its revision, in ``_meta`` and in a header, which must be equal.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

from agentidp.http.parser import build_object, refuse_constant

STATELESS = ("2026-07-28",)
"""Revisions of MCP in which each request names the revision."""

HANDSHAKE = ("2025-11-25", "2025-06-18")
"""Revisions of MCP that begin with ``initialize``. A client of another revision is offered the first revision here."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

_META = "io.modelcontextprotocol/"


class RpcError(Exception):
    """An error of JSON-RPC.

    :param code: an error code of JSON-RPC 2.0 section 5.1, or of the Model Context Protocol.
    :param id_: the ID of the refused message, or None if it could not be read.
    """

    def __init__(self, code: int, message: str, data: Any = None, *, id_: str | float | None = None) -> None:
        super().__init__(message)
        self.code, self.data, self.id = code, data, id_


@dataclass(frozen=True)
class Message:
    """A JSON-RPC request or notification. The ``id`` of a notification is None."""

    id: str | float | None
    method: str
    params: dict[str, Any]
    is_stateless: bool
    """Whether the message's revision of MCP is in :data:`STATELESS`."""

    def result(self, **members: Any) -> dict[str, Any]:
        """Return the JSON-RPC response to this request, with *members* as the result.

        The result always has ``resultType``, which the revisions in :data:`STATELESS` define and older revisions allow.
        """
        return {"jsonrpc": "2.0", "id": self.id, "result": {"resultType": "complete", **members}}


def error_response(id_: str | float | None, error: RpcError) -> dict[str, Any]:
    """Return the JSON-RPC response for an error."""
    body = {"code": error.code, "message": str(error)} | ({} if error.data is None else {"data": error.data})
    return {"jsonrpc": "2.0", "id": id_, "error": body}


def read_message(body: bytes, headers: Headers) -> Message:
    """Return the JSON-RPC message in an HTTP request's body. Refuse unsupported revisions of MCP."""
    try:
        # Repeated names are refused, because a gateway may read one of the values, and this server another.
        body_text = body.decode()
        json_message = json.loads(
            body_text, parse_constant=refuse_constant, parse_float=_parse_float, object_pairs_hook=build_object
        )
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "the body is not JSON") from None
    if (
        not isinstance(json_message, dict)
        or json_message.get("jsonrpc") != "2.0"
        or not isinstance(json_message.get("method"), str)
    ):
        raise RpcError(INVALID_REQUEST, "the body must be one request or notification of JSON-RPC 2.0")
    rpc_id, params = json_message.get("id"), json_message.get("params", {})
    if "id" in json_message and (isinstance(rpc_id, bool) or not isinstance(rpc_id, str | int | float)):
        raise RpcError(INVALID_REQUEST, "id must be a string or a number")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object", id_=rpc_id)
    header_revision = headers.get("MCP-Protocol-Version")
    if header_revision is not None and header_revision not in STATELESS + HANDSHAKE:
        error_data = {"supported": [*STATELESS, *HANDSHAKE], "requested": header_revision}
        raise RpcError(UNSUPPORTED_VERSION, "this revision of the protocol is not supported", error_data, id_=rpc_id)
    meta_members = params.get("_meta")
    body_revision = meta_members.get(f"{_META}protocolVersion") if isinstance(meta_members, dict) else None
    # A message whose body alone names a stateless revision is stateless too. check_envelope() then refuses the message,
    # because its header differs from its body.
    return Message(rpc_id, json_message["method"], params, header_revision in STATELESS or body_revision in STATELESS)


def check_envelope(message: Message, headers: Headers) -> None:
    """Raise ``RpcError`` if ``_meta`` lacks a required member, or a header for gateways differs from the message."""
    meta_members = message.params.get("_meta")
    if (
        not isinstance(meta_members, dict)
        or not {f"{_META}protocolVersion", f"{_META}clientCapabilities"} <= meta_members.keys()
    ):
        raise RpcError(INVALID_PARAMS, f"params._meta must have {_META}protocolVersion and {_META}clientCapabilities")
    values_by_header = {"MCP-Protocol-Version": meta_members[f"{_META}protocolVersion"], "Mcp-Method": message.method}
    if message.method == "tools/call":
        values_by_header["Mcp-Name"] = message.params.get("name")
    for header_name, header_value in values_by_header.items():
        if headers.get(header_name) != header_value:
            raise RpcError(HEADER_MISMATCH, f"the header {header_name} and the body must be equal")


def _parse_float(number: str) -> float:
    """Parse a number with a fraction. Refuse a number that is too large for a float."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value
