"""What the forms of the dashboard have in common: they are loaded like a body of the API, and shown again with what was
typed and with the rule that each field breaks. Their macros are in ``forms.html``.

The fields of a thing's form, and the lines of its page, are the members of its body (:mod:`agentidp.http.schemas`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from flask import request

from agentidp.analytics.period import parsed_date
from agentidp.http.errors import ApiError, ValidationError
from agentidp.http.schemas import Member


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it is shown.

    :param given: what is in its fields, by their names, which are those of the API's members.
    :param errors: name of a field -> a sentence; without a name what is about no field.
    :param form_key: of a form that creates something.
    """

    given: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    form_key: str | None = None


def members(schema: ma.Schema) -> list[Member]:
    """The members of a thing that a form asks for, or a page shows.

    :param schema: without the members that have their own place.
    """
    return [field for field in schema.fields.values() if isinstance(field, Member)]


def sent(fields: Iterable[Member]) -> dict[str, Any]:
    """What was typed into the fields: text, a list of texts, or whether a box is checked."""
    return {name: _sent(field) for field in fields if (name := field.name)}


def _sent(field: Member) -> Any:
    name = field.name or ""
    if field.kind == "flag":
        return name in request.form
    return request.form.getlist(name) if field.kind == "choices" else text(name)[name]


def body(fields: Iterable[Member], typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, as the JSON of our API. A number that is none stays text, which a schema refuses."""
    return {name: _value(field, typed[name]) for field in fields if (name := field.name)}


def _value(field: Member, typed: Any) -> Any:
    if field.kind == "items":
        typed = [line.strip() for line in typed.splitlines() if line.strip()]
    elif field.kind == "number" and typed:
        return number(typed)
    return None if field.allow_none and not typed else typed


def number(text: str) -> int | str:
    """What was typed as a number, or as text if it is none, which a schema refuses."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else text


def typed(fields: Iterable[Member], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What a form has of a thing that exists.

    :param shown: the thing, as the API returns it.
    """
    return {name: _typed(field, shown.get(name)) for field in fields if (name := field.name)}


def _typed(field: Member, value: Any) -> Any:
    if field.kind == "items":
        return "\n".join(value or [])
    return "" if value is None else value


def proposed(fields: Iterable[Member]) -> dict[str, Any]:
    """What the form of a new thing has: the defaults."""
    return {name: _typed(field, _default(field)) for field in fields if (name := field.name)}


def _default(field: Member) -> Any:
    default = field.load_default() if callable(field.load_default) else field.load_default
    return None if default is ma.missing else default


def labels(fields: Iterable[Member]) -> dict[str, str]:
    """What an error calls the fields."""
    return {field.name or "": f"The {field.words}" for field in fields}


def loaded(schema: ma.Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, as the API loads a body.

    :raises ValidationError: as at the API.
    """
    try:
        new: dict[str, Any] = schema.load(values)
    except ma.ValidationError as error:
        raise ValidationError(details=error.normalized_messages()) from None  # type: ignore[no-untyped-call]
    return new


def errors(refused: ApiError, labels: Mapping[str, str]) -> dict[str, str]:
    """What :class:`Form` shows of an error.

    :param labels: name of a field -> what a sentence calls it.
    """
    about = [name for name in refused.details if name in labels]
    if isinstance(refused, ValidationError) and about:
        return {name: f"{labels[name]} {_rule(refused.details[name])}." for name in about}
    # What contradicts the present state has a sentence of its own.
    return {about[0] if about else "": refused.message}


def text(*names: str) -> dict[str, str]:
    """The texts that were sent, by their names. Browsers end lines with CRLF."""
    return {name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in names}


def start_of_day(name: str) -> str | None:
    """The beginning of the UTC day that was sent, as the API takes an instant; ``None`` if the field is empty.

    :raises ValidationError: it is no date.
    """
    sent = request.form.get(name, "").strip()
    day = parsed_date(sent)
    if sent and day is None:
        raise ValidationError(details={name: ["must be a date"]})
    return f"{day}T00:00:00Z" if day else None


def _rule(rules: Any) -> str:
    """The first rule that a field breaks; those of a list are below the places of its members."""
    return _rule(next(iter(rules.values()))) if isinstance(rules, dict) else str(rules[0]).removesuffix(", or null")
