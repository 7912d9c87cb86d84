"""Bodies, headers and codes of errors for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import marshmallow as ma

from agentidp.http.errors import ApiError


def _errors_with_a_code(error: type[ApiError]) -> Iterator[type[ApiError]]:
    if "code" in vars(error):
        yield error
    for subclass in error.__subclasses__():
        yield from _errors_with_a_code(subclass)


ERRORS = {error.code: error for error in _errors_with_a_code(ApiError) if error.__module__ == ApiError.__module__}
"""Error classes of the API by code. Classes of other modules are left out, because they reuse these codes."""

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
"""All values of ``error`` in the responses of OAuth endpoints."""


class ErrorSchema(ma.Schema):
    """The body of an error response, except at OAuth endpoints."""

    code = ma.fields.String(required=True, validate=ma.validate.OneOf(sorted(ERRORS)))
    message = ma.fields.String(required=True)
    details = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.String()),
        required=True,
        metadata={"description": "For each field, the rules that it breaks"},
    )


class OAuthErrorSchema(ma.Schema):
    """The body of an error response at OAuth endpoints (RFC 6749 section 5.2)."""

    error = ma.fields.String(required=True, validate=ma.validate.OneOf(OAUTH_ERRORS))
    error_description = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[ !#-\[\]-~]+\Z"))


def describe_error(name: str, headers: Iterable[str] = ()) -> dict[str, Any]:
    """Return the description of an error response for the OpenAPI document.

    :param name: the error's code, prefixed with ``OAUTH_`` for an OAuth endpoint.
    :param headers: the names of this response's headers besides ``X-Request-Id`` and the headers of the error.
    """
    error_code = name.removeprefix("OAUTH_")
    error_class = ERRORS[error_code]
    description = error_class.description or error_code.replace("_", " ").capitalize()
    # All errors have the same schema, because client generators make one class per schema. So only the description
    # contains the code.
    return {
        "description": f"`{error_code}`: {description}" if name == error_code else description,
        "headers": {header_name: header_name for header_name in ("X-Request-Id", *headers, *error_class.always_sent)},
        "content": {"application/json": {"schema": ErrorSchema if name == error_code else OAuthErrorSchema}},
    }
