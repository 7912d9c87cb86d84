"""How the OpenAPI document describes errors: by their bodies, their headers and their codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import marshmallow as ma

from agentidp.http.errors import ApiError


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
    "invalid_grant",
    "invalid_scope",
    "invalid_target",
    "invalid_dpop_proof",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "server_error",
)
"""The values of ``error`` at an OAuth endpoint."""


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


def error_response(name: str, headers: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The response that is an error.

    :param name: its code, with ``OAUTH_`` before it at an OAuth endpoint.
    :param headers: further ones, each by the name under which the document describes it.
    """
    code = name.removeprefix("OAUTH_")
    error = ERRORS[code]
    own = {"allOf": [ErrorSchema, {"properties": {"code": {"const": code}}}]}
    return {
        "description": error.description or code.replace("_", " ").capitalize(),
        "headers": {"X-Request-Id": "X-Request-Id", **headers, **{header: header for header in error.always_sent}},
        "content": {"application/json": {"schema": own if name == code else OAuthErrorSchema}},
    }
