"""Functions for the forms of the dashboard. The macros are in ``forms.html``.

The fields of an object's form, and the lines of its page, are the members of its body in the API
(:mod:`agentidp.http.schemas`). A form is validated like such a body. A refused form is shown again with the typed
values and the rules that they break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from flask import request

from agentidp.http.errors import ApiError, ValidationError
from agentidp.http.schemas import Group, Member


@dataclass(frozen=True, slots=True)
class Form:
    """The content of a form.

    :param values: name of a field -> the content of the field.
    :param errors: name of a field -> a sentence. A sentence that is not about a field has the name "".
    :param form_key: the key of a form that creates something.
    """

    values: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    form_key: str | None = None


def members(schema: ma.Schema) -> list[Member]:
    """Return the members of an object that a form asks for, or a page shows.

    :param schema: the schema without the members that are shown elsewhere. Each :class:`Group` in it is skipped.
    """
    return [field for field in schema.fields.values() if isinstance(field, Member) and not isinstance(field, Group)]


def read_fields(fields: Iterable[Member]) -> dict[str, Any]:
    """Return the request's content by field: a text, the values of ``choices``, or whether a ``flag`` is checked."""
    return {field.typed_name: _read_field(field.kind, field.typed_name) for field in fields}


def _read_field(kind: str, name: str) -> Any:
    if kind == "flag":
        return name in request.form
    return request.form.getlist(name) if kind == "choices" else read_texts(name)[name]


def read_texts(*names: str) -> dict[str, str]:
    """Return texts of the request by name. The CRLF with which browsers end lines becomes LF."""
    return {name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in names}


def build_body(fields: Iterable[Member], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body for the API. An empty required field stays in the body, so that the schema refuses it.

    :param values: the content of the form.
    :raises ValidationError: a text cannot be converted.
    """
    body, details = {}, {}
    for member in fields:
        try:
            body[member.name or ""] = member.from_typed(_split_lines(member, values[member.typed_name]))
        except ma.ValidationError as error:
            details[member.typed_name] = error.messages
    if details:
        raise ValidationError(details=details)
    return body


def _split_lines(field: Member, value: Any) -> Any:
    """Return the non-empty lines of an ``items`` field, and the content of any other field unchanged."""
    return list(filter(None, map(str.strip, value.splitlines()))) if field.kind == "items" else value


def format_values(fields: Iterable[Member], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the form for an existing object.

    :param body: the object, as the API returns it.
    """
    return {field.typed_name: field.to_typed(body.get(field.name or "")) for field in fields}


def default_values(fields: Iterable[Member]) -> dict[str, Any]:
    """Return the content of the form for a new object."""
    return {field.typed_name: field.to_typed(field.default) for field in fields}


def labels(fields: Iterable[Member]) -> dict[str, str]:
    """Return the name of each field in error messages."""
    return {field.typed_name: f"The {field.words}" for field in fields}


def load(schema: ma.Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a schema loads from a body.

    :raises ValidationError: as at the API.
    """
    try:
        values: dict[str, Any] = schema.load(body)
    except ma.ValidationError as error:
        raise ValidationError(details=error.normalized_messages()) from None  # type: ignore[no-untyped-call]
    return values


def errors(error: ApiError, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the sentences of :class:`Form` for an error, by the names of the fields.

    :param labels: name of a field -> its name in sentences.
    """
    wrong_fields = [name for name in error.details if name in labels]
    if isinstance(error, ValidationError) and wrong_fields:
        return {name: f"{labels[name]} {_first_rule(error.details[name])}." for name in wrong_fields}
    # A conflict with the present state has a complete sentence as its message.
    return {wrong_fields[0] if wrong_fields else "": error.message}


def _first_rule(rules: Any) -> str:
    """Return the first rule that a field breaks. The rules of a list are nested below the indexes of its items."""
    if isinstance(rules, dict):
        return _first_rule(next(iter(rules.values())))
    return str(rules[0]).removesuffix(", or null")
