"""A message of the Model Context Protocol: JSON-RPC 2.0 in the body of a POST, in one of the revisions that we speak.

Since revision 2026-07-28 a request says by itself which revision it is in, in its ``_meta`` and in headers that must
agree with the body. Before, a client begins with ``initialize``; we keep no session, so nothing depends on that.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from werkzeug.datastructures import Headers

from agentidp.http.parser import unique

STATELESS = ("2026-07-28",)
"""Revisions in which each request stands for itself."""

HANDSHAKE = ("2025-11-25", "2025-06-18")
"""Revisions that begin with ``initialize``. The first one is offered to a client that asks for another one."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

_META = "io.modelcontextprotocol/"


class RpcError(Exception):
    """An error of JSON-RPC.

    :param code: of JSON-RPC 2.0 section 5.1, or of the Model Context Protocol.
    :param data: what more a client can read.
    :param id_: of the message that is refused, if it could be read.
    """

    def __init__(self, code: int, message: str, data: Any = None, *, id_: str | float | None = None) -> None:
        super().__init__(message)
        self.code, self.data, self.id = code, data, id_


@dataclass(frozen=True)
class Message:
    """A request, or a notification, whose ``id`` is ``None``."""

    id: str | float | None
    method: str
    params: dict[str, Any]
    is_stateless: bool
    """Whether its revision is one of :data:`STATELESS`."""

    def result(self, **members: Any) -> dict[str, Any]:
        """The response with a result."""
        return {"jsonrpc": "2.0", "id": self.id, "result": {"resultType": "complete", **members}}


def error_response(id_: str | float | None, error: RpcError) -> dict[str, Any]:
    """The response with an error."""
    body = {"code": error.code, "message": str(error)} | ({} if error.data is None else {"data": error.data})
    return {"jsonrpc": "2.0", "id": id_, "error": body}


def read(body: bytes, headers: Headers) -> Message:
    """The message in a request's body.

    :raises RpcError: it is none, or in another revision.
    """
    try:
        # As all bodies of ours are read: UTF-8 only, and no name twice, which a gateway may read differently.
        sent = json.loads(body.decode(), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "the body is not JSON") from None
    if not isinstance(sent, dict) or sent.get("jsonrpc") != "2.0" or not isinstance(sent.get("method"), str):
        raise RpcError(INVALID_REQUEST, "the body must be one request or notification of JSON-RPC 2.0")
    id_, params = sent.get("id"), sent.get("params", {})
    if "id" in sent and (isinstance(id_, bool) or not isinstance(id_, str | int | float)):
        raise RpcError(INVALID_REQUEST, "id must be a string or a number")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object", id_=id_)
    revision = headers.get("MCP-Protocol-Version")
    if revision is not None and revision not in STATELESS + HANDSHAKE:
        supported = {"supported": [*STATELESS, *HANDSHAKE], "requested": revision}
        raise RpcError(UNSUPPORTED_VERSION, "this revision of the protocol is not supported", supported, id_=id_)
    meta = params.get("_meta")
    said = meta.get(f"{_META}protocolVersion") if isinstance(meta, dict) else None
    # Also by the body alone: then check_envelope refuses it, because the header is missing or says something else.
    return Message(id_, sent["method"], params, revision in STATELESS or said in STATELESS)


def check_envelope(message: Message, headers: Headers) -> None:
    """Compare what a request says in its body and in the headers by which a gateway may route it.

    :raises RpcError: they differ, or one is missing.
    """
    meta, revision = message.params.get("_meta"), headers.get("MCP-Protocol-Version")
    if not isinstance(meta, dict) or not {f"{_META}protocolVersion", f"{_META}clientCapabilities"} <= meta.keys():
        raise RpcError(INVALID_PARAMS, f"params._meta must have {_META}protocolVersion and {_META}clientCapabilities")
    said = {"MCP-Protocol-Version": (revision, meta[f"{_META}protocolVersion"])}
    said["Mcp-Method"] = (headers.get("Mcp-Method"), message.method)
    if message.method == "tools/call":
        said["Mcp-Name"] = (headers.get("Mcp-Name"), message.params.get("name"))
    for name, (header, body) in said.items():
        if header != body:
            raise RpcError(HEADER_MISMATCH, f"the header {name} does not say what the body says")


def _finite(number: str) -> float:
    """A number. One that is too great for a float would be infinite, and JSON has no word for that."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
