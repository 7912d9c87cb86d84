"""How the OpenAPI document describes errors: by their bodies, their headers, and the codes that one status can have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import marshmallow as ma

from agentidp.http.errors import ApiError
from agentidp.http.response_headers import HEADERS


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


def error_response(*codes: str, headers: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The response that is one of several errors with one status.

    :param codes: all with ``OAUTH_`` before them, or none.
    :param headers: further ones, each by the name under which the document describes it.
    """
    names = [code.removeprefix("OAUTH_") for code in codes]
    code = {"const": names[0]} if len(names) == 1 else {"enum": names}
    own = {"allOf": [ErrorSchema, {"properties": {"code": code}}]}
    descriptions = [ERRORS[name].description or name.replace("_", " ").capitalize() for name in names]
    sent: dict[str, Any] = {"X-Request-Id": "X-Request-Id", **headers}
    for name in names:
        for header in ERRORS[name].always_sent:
            is_sent_by_all = all(header in ERRORS[other].always_sent for other in names)
            sent[header] = header if is_sent_by_all else HEADERS[header] | {"required": False}
    return {
        "description": "; or: ".join(descriptions),
        "headers": sent,
        "content": {"application/json": {"schema": own if codes[0] == names[0] else OAuthErrorSchema}},
    }


def described_errors(codes: Sequence[str]) -> str | dict[str, Any]:
    """The errors of one status in an operation: a single one by its name in the document."""
    different = list(dict.fromkeys(codes))
    return different[0] if len(different) == 1 else error_response(*different)
