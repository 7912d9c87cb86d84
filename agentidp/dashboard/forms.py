"""What the forms of the dashboard have in common: they are loaded like a body of the API, and shown again with what was
typed and with the rule that each field breaks. Their macros are in ``forms.html``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from flask import request

from agentidp.dashboard.period import parsed_date
from agentidp.http.errors import ApiError, ValidationError


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


def loaded(schema: ma.Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, as the API loads a body.

    :raises ValidationError: as at the API.
    """
    try:
        body: dict[str, Any] = schema.load(values)
    except ma.ValidationError as error:
        raise ValidationError(details=error.normalized_messages()) from None  # type: ignore[no-untyped-call]
    return body


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
    return _rule(next(iter(rules.values()))) if isinstance(rules, dict) else str(rules[0])
