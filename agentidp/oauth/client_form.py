"""Read the form that a client sends to an OAuth endpoint (RFC 6749 section 3.2), and describe such endpoints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import marshmallow as ma
from flask import Request

from agentidp.http import errors
from agentidp.http.errors import OAuthError
from agentidp.http.openapi import declarations_of
from agentidp.jose.assertion import MAX_LENGTH
from agentidp.oauth.federated_token import ASSERTION_TYPES

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
FORM = "application/x-www-form-urlencoded"
CREDENTIALS = {"client_secret", "client_assertion", "client_id"}
MAX_PARAMETERS = 50
# In a plain form, no character is percent-encoded, and each name is followed by "=" and a value, which may be empty.
_NAME, _VALUE = r"[A-Za-z0-9._~-]+", r"[A-Za-z0-9._~:/-]*"
_PLAIN = re.compile(rf"{_NAME}={_VALUE}(?:&{_NAME}={_VALUE}){{0,{MAX_PARAMETERS - 1}}}")
_PAIR = re.compile(f"({_NAME})=({_VALUE})")
ERRORS = (
    errors.ValidationError,
    errors.Unauthorized,
    errors.PayloadTooLarge,
    errors.RateLimited,
    errors.ServiceUnavailable,
)
"""Error responses of the endpoints at which a client authenticates."""


def describe_parameter(description: str, *validators: ma.validate.Validator) -> ma.fields.String:
    """Return the schema field of a string parameter."""
    return ma.fields.String(validate=validators, metadata={"description": description})


class ClientFormSchema(ma.Schema):
    """Parameters by which a client authenticates without HTTP Basic, for the OpenAPI document."""

    class Meta:
        unknown = ma.INCLUDE
        json_schema = {"additionalProperties": {"type": "string"}}

    client_id = describe_parameter("The agent's UUID")
    client_secret = ma.fields.String()
    client_assertion_type = ma.fields.String(validate=ma.validate.OneOf([*ASSERTION_TYPES, ""]))
    client_assertion = describe_parameter(
        "A JWT that a key of the agent has signed, or a token that it trusts (RFC 7523 section 2.2)",
        ma.validate.Length(max=MAX_LENGTH),
    )


def describe_client_endpoint(
    form: type[ma.Schema], responses: Mapping[int, Any] = MappingProxyType({})
) -> Callable[[Any], Any]:
    """Return a decorator that describes, in the OpenAPI document, an endpoint at which clients authenticate.

    :param responses: further responses by status. Each replaces the response of :data:`ERRORS` with the same status.
    """

    def decorate(view: Any) -> Any:
        declaration = declarations_of(view)
        # OpenAPI has no security scheme for credentials in a form, so the empty scheme stands for them.
        declaration.members["security"] = [{"clientSecretBasic": []}, {}]
        declaration.members["requestBody"] = {"required": True, "content": {FORM: {"schema": form}}}
        declaration.responses |= {error.status: f"OAUTH_{error.code}" for error in ERRORS}
        declaration.responses |= responses
        return view

    return decorate


def read_form(request: Request) -> dict[str, str]:
    """Return the parameters of a form that have a value (RFC 6749 section 3.2).

    :raises OAuthError: ``invalid_request`` for another content type, a repeated parameter, text that is not UTF-8, or
        a credential in the URL; ``invalid_target`` for two resources.
    """
    # The unparsed header is compared first, because nearly every client sends exactly this value.
    if request.environ.get("CONTENT_TYPE") != FORM and request.mimetype != FORM:
        raise OAuthError("invalid_request", f"the body must be {FORM}")
    if request.environ.get("QUERY_STRING") and not CREDENTIALS.isdisjoint(request.args):
        raise OAuthError("invalid_request", "client credentials must not be sent in the URL")
    try:
        name_value_pairs = parse_pairs(request.get_data().decode("ascii"))
    except (UnicodeError, ValueError):
        raise OAuthError("invalid_request", "the body is not a form in UTF-8") from None
    if len(dict(name_value_pairs)) < len(name_value_pairs):
        value_counts = Counter(parameter_name for parameter_name, _ in name_value_pairs)
        repeated_names = [parameter_name for parameter_name, value_count in value_counts.items() if value_count > 1]
        if repeated_names == ["resource"]:
            # RFC 8707 section 2 allows several resources, but our tokens have one audience.
            raise OAuthError("invalid_target", "resource must name one resource server only")
        parameter_name = repeated_names[0] if re.fullmatch("[a-z_]{1,30}", repeated_names[0]) else "a parameter"
        raise OAuthError("invalid_request", f"{parameter_name} is repeated")
    return {parameter_name: parameter_value for parameter_name, parameter_value in name_value_pairs if parameter_value}


def parse_pairs(form: str) -> list[tuple[str, str]]:
    """Return the names and values of a form, or raise ``ValueError`` for too many parameters or wrong UTF-8."""
    # A plain form is parsed without parse_qsl(), which is slow.
    if _PLAIN.fullmatch(form):
        return _PAIR.findall(form)
    return parse_qsl(form, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
