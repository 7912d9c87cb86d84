"""The errors that clients receive, which :mod:`agentidp.http.error_rendering` turns into responses.

OAuth endpoints return ``{"error", "error_description"}`` (RFC 6749 section 5.2), and all others ``{"code", "message",
"details"}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

RETRY_AFTER = 1
"""Seconds that a client should wait if the database cannot be reached, in the header ``Retry-After``."""


class ApiError(Exception):
    """An error for the client. Subclasses define the status, the code and the default message.

    The OpenAPI document describes each class that defines a code.

    :param message: a sentence for the client. Default: the message of the class.
    :param details: field name -> the rules that the field breaks.
    :cvar description: the sentence in the OpenAPI document. Default: the words of the code.
    :cvar always_sent: the names of the headers that each response with this error has.
    """

    status = 500
    code = "INTERNAL_ERROR"
    message = "The server met an unexpected condition."
    description: str | None = None
    always_sent: tuple[str, ...] = ()

    def __init__(
        self,
        message: str | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the response."""
        return {"code": self.code, "message": self.message, "details": self.details}


def _build_challenge(scheme: str, **parameters: str | None) -> dict[str, str]:
    # Characters that RFC 6750 section 3 forbids in the challenge's parameters are replaced.
    safe_values = {
        parameter: re.sub(r"[^ !#-\[\]-~]", "?", value) for parameter, value in parameters.items() if value is not None
    }
    formatted_parameters = "".join(f', {parameter}="{value}"' for parameter, value in safe_values.items())
    return {"WWW-Authenticate": f'{scheme} realm="agentidp"{formatted_parameters}'}


class ValidationError(ApiError):
    """400: the request breaks a rule."""

    status, code, message = 400, "VALIDATION_ERROR", "The request is not valid."


class Unauthorized(ApiError):
    """401 with the challenge of RFC 6750 section 3. Without a token in the request, the challenge has no ``error``."""

    status, code, message = 401, "UNAUTHORIZED", "Send an access token in the header Authorization: Bearer TOKEN."
    always_sent = ("WWW-Authenticate",)

    def __init__(self, message: str | None = None, *, error: str | None = None) -> None:
        parameters = {} if error is None else {"error": error, "error_description": message}
        super().__init__(message, headers=_build_challenge("Bearer", **parameters))


class InvalidToken(Unauthorized):
    """401: the token is refused (RFC 6750 section 3.1).

    :param client_message: why the token is refused and what to do; ``None`` if its signature is not valid.
    """

    def __init__(self, client_message: str | None = None) -> None:
        super().__init__(client_message or "The access token is invalid, expired or revoked", error="invalid_token")


class InvalidProof(Unauthorized):
    """401: the token is bound to a key, but the DPoP proof is refused (RFC 9449 section 7.1).

    :param algorithms: the accepted signature algorithms of proofs.
    """

    def __init__(self, message: str, algorithms: Sequence[str]) -> None:
        super().__init__(message)
        algs = " ".join(algorithms)
        self.headers |= _build_challenge("DPoP", algs=algs, error="invalid_dpop_proof", error_description=message)


class SecondToken(ValidationError):
    """400: the request has an access token in more than one place (RFC 6750 sections 2 and 3.1)."""

    def __init__(self) -> None:
        message = "The access token must be sent in the Authorization header only"
        details = {"access_token": ["must not be sent beside the Authorization header"]}
        headers = _build_challenge("Bearer", error="invalid_request", error_description=message)
        super().__init__(message, details=details, headers=headers)


class InsufficientScope(ApiError):
    """403: the token lacks the scope that the route requires (RFC 6750 section 3.1)."""

    status, code = 403, "FORBIDDEN"
    always_sent = ("WWW-Authenticate",)

    def __init__(self, scope: str) -> None:
        message = f"The access token lacks the scope {scope}"
        headers = _build_challenge("Bearer", error="insufficient_scope", error_description=message, scope=scope)
        super().__init__(message, headers=headers)


class NotFound(ApiError):
    """404: the object does not exist, or another organization owns it."""

    status, code, message = 404, "NOT_FOUND", "There is nothing at this address."


def require_row(rows: Sequence[Any]) -> Any:
    """Return the only row of a statement that reads or changes one object. Raise ``NotFound`` if there is no row."""
    if not rows:
        raise NotFound
    return rows[0]


class WrongMethod(ApiError):
    status, code, message = 405, "METHOD_NOT_ALLOWED", "This address does not take this method."


class Conflict(ApiError):
    status, code, message = 409, "CONFLICT", "The request contradicts the present state."


class PayloadTooLarge(ApiError):
    status, code, message = 413, "PAYLOAD_TOO_LARGE", "The request body is too large."


class UnsupportedMediaType(ApiError):
    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"
    message = "The request body must be application/json."


class RateLimited(ApiError):
    status, code, message = 429, "RATE_LIMITED", "Too many requests."
    always_sent = ("Retry-After",)


class ServiceUnavailable(ApiError):
    """503: the database is unreachable, overloaded or too slow, and the request changed nothing."""

    status, code = 503, "SERVICE_UNAVAILABLE"
    message = "The service is temporarily unavailable; try again."
    description = (
        "The database is unreachable, exhausted or too slow. Nothing was done, unless the message says that the "
        "outcome is unknown. Then a token may have been issued and counted."
    )
    always_sent = ("Retry-After",)

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": str(RETRY_AFTER)})


class OutcomeUnknown(ServiceUnavailable):
    """503: the connection was lost during the commit, so the change may or may not have been made."""

    message = (
        "It is unknown whether the request was carried out: the database did not answer. A token request may be "
        "repeated; it then gets a further token, and if the first one was issued, both are counted."
    )


class OAuthError(Exception):
    """An error of an OAuth endpoint, in the form of RFC 6749 section 5.2.

    :param error: the error code of the RFC.
    :param description: ``error_description``, in ASCII without quotes and backslashes.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.error, self.description, self.status = error, description, status
        self.headers = {"Cache-Control": "no-store", **(headers or {})}

    def body(self) -> dict[str, str]:
        """Return the JSON body of the response."""
        return {"error": self.error, "error_description": self.description}
