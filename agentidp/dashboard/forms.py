"""Functions for the forms of the dashboard. The macros are in ``forms.html``.

The fields of an object's form are the members of its body in the API (:mod:`agentidp.http.schemas`), and the form is
validated like such a body. A refused form is shown again with the typed values and the rules that they break.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from flask import request

from agentidp.http.errors import ApiError, Conflict, ValidationError
from agentidp.http.schemas import Group, Member


@dataclass(slots=True)
class Form:
    """The content of a form, and why it was refused.

    :param values: the content of each field, by the field's name.
    :param errors: a sentence per wrong field, by the field's name. A sentence about the form has the name "".
    :param form_key: the key of a form that creates something; empty for other forms.
    :param status: the status of the page that shows the form.
    """

    values: dict[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    form_key: str = ""
    status: int = 200

    @contextlib.contextmanager
    def catch_refusal(self, labels: Mapping[str, str]) -> Iterator[None]:
        """Catch an error of the ``with`` block that refuses the form, and store the error's sentences and status."""
        try:
            yield
        except (ValidationError, Conflict) as error:
            self.errors, self.status = describe_errors(error, labels), error.status


def members(schema: ma.Schema) -> list[Member]:
    """Return the members of a schema that are fields of a form or lines of a page. A :class:`Group` is left out."""
    return [field for field in schema.fields.values() if isinstance(field, Member) and not isinstance(field, Group)]


def read_fields(fields: Iterable[Member]) -> dict[str, Any]:
    """Return the request's values by field: a text, the values of ``choices``, or whether a ``flag`` is checked."""
    return {field.typed_name: _read_field(field.kind, field.typed_name) for field in fields}


def _read_field(kind: str, name: str) -> Any:
    if kind == "flag":
        return name in request.form
    return request.form.getlist(name) if kind == "choices" else read_texts(name)[name]


def read_texts(*names: str) -> dict[str, str]:
    """Return texts in the request's form, by name. LF replaces the CRLF with which browsers end lines."""
    return {name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in names}


def build_body(fields: Iterable[Member], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's request body for typed *values*. Empty fields are included: the schema refuses required ones.

    :raises ValidationError: a text cannot be converted.
    """
    request_body, errors_by_field = {}, {}
    for member in fields:
        try:
            field_value = values[member.typed_name]
            if member.kind == "items":
                field_value = list(filter(None, map(str.strip, field_value.splitlines())))
            request_body[member.name or ""] = member.parse_input(field_value)
        except ma.ValidationError as error:
            errors_by_field[member.typed_name] = error.messages
    if errors_by_field:
        raise ValidationError(details=errors_by_field)
    return request_body


def format_values(fields: Iterable[Member], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the form for an existing object, whose JSON in the API is *body*."""
    return {field.typed_name: field.format_input(body.get(field.name or "")) for field in fields}


def default_values(fields: Iterable[Member]) -> dict[str, Any]:
    """Return the content of the form for a new object: the default value of each member."""
    return {field.typed_name: field.format_input(field.default) for field in fields}


def labels(fields: Iterable[Member]) -> dict[str, str]:
    """Return the words for each field in an error message, such as ``The description``, by the field's name."""
    return {field.typed_name: f"The {field.words}" for field in fields}


def load(schema: ma.Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a schema loads from a request body, or raise :exc:`ValidationError` with its errors."""
    try:
        values: dict[str, Any] = schema.load(body)
    except ma.ValidationError as error:
        raise ValidationError(details=error.normalized_messages()) from None  # type: ignore[no-untyped-call]
    return values


def describe_errors(error: ApiError, labels: Mapping[str, str]) -> dict[str, str]:
    """Return an error's sentences by field; by ``""`` if it is about no field. *labels* come from :func:`labels`."""
    wrong_fields = [field for field in error.details if field in labels]
    if isinstance(error, ValidationError) and wrong_fields:
        return {field: f"{labels[field]} {_first_rule(error.details[field])}." for field in wrong_fields}
    # The message of any other error is already a complete sentence. The key "" stands for the form.
    return {wrong_fields[0] if wrong_fields else "": error.message}


def _first_rule(rules: Any) -> str:
    """Return the first message about a field. For a list, *rules* are messages nested below the items' indexes."""
    if isinstance(rules, dict):
        return _first_rule(next(iter(rules.values())))
    return str(rules[0]).removesuffix(", or null")
