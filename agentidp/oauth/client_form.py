"""The form that a client sends to an OAuth endpoint (RFC 6749 section 3.2), and how such an endpoint is described."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import marshmallow as ma
from flask import Request

from agentidp.http.errors import (
    OAuthError,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    ValidationError,
)
from agentidp.http.openapi import declared
from agentidp.jose.assertion import MAX_LENGTH
from agentidp.oauth.federated_token import ASSERTION_TYPES

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
FORM = "application/x-www-form-urlencoded"
CREDENTIALS = {"client_secret", "client_assertion", "client_id"}
MAX_PARAMETERS = 50
# A form in which nothing is encoded, and each name has a value.
_NAME, _VALUE = r"[A-Za-z0-9._~-]+", r"[A-Za-z0-9._~:/-]*"
_PLAIN = re.compile(rf"{_NAME}={_VALUE}(?:&{_NAME}={_VALUE}){{0,{MAX_PARAMETERS - 1}}}")
_PAIR = re.compile(f"({_NAME})=({_VALUE})")
ERRORS = (ValidationError, Unauthorized, PayloadTooLarge, RateLimited, ServiceUnavailable)
"""Those of the endpoints at which a client authenticates."""


class ClientFormSchema(ma.Schema):
    """How a client authenticates, if not by HTTP Basic. Unknown parameters are ignored, and one without a value
    counts as omitted (RFC 6749 section 3.2).

    The schemas are only documentation. :func:`read_form` and its callers read the forms.
    """

    class Meta:
        unknown = ma.INCLUDE
        # Each once, so no lists.
        json_schema = {"additionalProperties": {"type": "string"}}

    client_id = ma.fields.String(metadata={"description": "The agent's UUID"})
    client_secret = ma.fields.String()
    client_assertion_type = ma.fields.String(validate=ma.validate.OneOf([*ASSERTION_TYPES, ""]))
    client_assertion = ma.fields.String(
        validate=ma.validate.Length(max=MAX_LENGTH),
        metadata={
            "description": "A JWT that a key of the agent has signed, or a token that it trusts (RFC 7523 section 2.2)"
        },
    )


def described(form: type[ma.Schema], responses: Mapping[int, Any] = MappingProxyType({})) -> Callable[[Any], Any]:
    """What the endpoints at which a client authenticates have in common in the OpenAPI document.

    :param responses: those to some errors, if they differ.
    """

    def decorate(view: Any) -> Any:
        said = declared(view)
        # Or by parameters of the form, for which OpenAPI has no scheme.
        said.members["security"] = [{"clientSecretBasic": []}, {}]
        said.members["requestBody"] = {"required": True, "content": {FORM: {"schema": form}}}
        said.responses |= {error.status: f"OAUTH_{error.code}" for error in ERRORS}
        said.responses |= responses
        return view

    return decorate


def read_form(request: Request) -> dict[str, str]:
    """The parameters of a form-encoded request; one without a value counts as omitted (section 3.2).

    :raises OAuthError: ``invalid_request`` for another content type, a parameter that comes twice, text that is
        not UTF-8, or a secret in the URL; ``invalid_target`` for two resources.
    """
    # Parsing costs more than comparing, and nearly every request has the plain type and no query.
    if request.environ.get("CONTENT_TYPE") != FORM and request.mimetype != FORM:
        raise OAuthError("invalid_request", f"the body must be {FORM}")
    if request.environ.get("QUERY_STRING") and not CREDENTIALS.isdisjoint(request.args):
        raise OAuthError("invalid_request", "client credentials must not be sent in the URL")
    try:
        pairs = pairs_of(request.get_data().decode("ascii"))
    except (UnicodeError, ValueError):
        raise OAuthError("invalid_request", "the body is not a form in UTF-8") from None
    if len(dict(pairs)) < len(pairs):
        names = Counter(name for name, _ in pairs)
        if {name for name, times in names.items() if times > 1} == {"resource"}:
            # RFC 8707 section 2 lets a request name several; our tokens have one audience.
            raise OAuthError("invalid_target", "resource must name one resource server only")
        raise OAuthError("invalid_request", "a parameter is repeated")
    return {name: value for name, value in pairs if value}


def pairs_of(form: str) -> list[tuple[str, str]]:
    """The names and values of a form. Nearly all are plain, and need a tenth of the calls of ``parse_qsl``.

    :raises ValueError: the form has more than ``MAX_PARAMETERS``, or text that is not UTF-8.
    """
    if _PLAIN.fullmatch(form):
        return _PAIR.findall(form)
    return parse_qsl(form, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
