"""The fields of bodies and queries: each accepts what the documentation of the API says. marshmallow accepts more.

Also what they share: the format of timestamps, the greatest numbers of days, and the length of a name.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

MAX_DAYS = 90
"""The most days, today included, that a question about usage may cover."""

MAX_DAYS_OF_USAGE = 92
"""The most days for which an organization's usage per day is returned. A quarter: the dashboard's longest period."""

MAX_OWNER = 200
"""Characters of whom to ask about an agent."""

MAX_NAME = 100
"""Characters of the name of an organization, an agent, a resource server, an alert target or a person."""

# In what ECMA-262 and Python have in common. The white space is what str.strip() takes and is not a control character.
_CONTROL = r"\u0000-\u001f\u007f-\u009f"
_CONTROL_BUT_BREAKS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_WHITE_SPACE = r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_DIGITS = re.compile(r"[0-9]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, whatever the session's time zone gave the value."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class ChangeSchema(ma.Schema):
    """The body of a PATCH: missing members stay as they are, so none of its fields is required or has a default."""

    class Meta:
        json_schema = {"minProperties": 1}

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """What :class:`ma.Schema` calls for each field, which may also belong to the body of a POST."""
        field_obj.required, field_obj.load_default = False, ma.missing

    @ma.validates_schema
    def not_empty(self, data: dict[str, Any], **_: Any) -> None:
        """An empty change is a mistake."""
        if not data:
            raise ma.ValidationError("must name something to change", "body")


class WholeNumber(ma.fields.Integer):
    """A decimal number in ASCII digits, from *least* to *most*.

    ``int()`` would let ``1_0``, a blank, a sign and other scripts' digits through, and marshmallow's ``strict``
    refuses every string.
    """

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        self._rule = f"must be a whole number from {least} to {most}"
        super().__init__(validate=ma.validate.Range(least, most, error=self._rule), **kwargs)
        self.error_messages["invalid"] = self._rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class NumberOrNull(ma.fields.Integer):
    """A JSON number without a fraction, from *least* to *most*, or ``null``.

    marshmallow's ``strict`` would let ``true`` and ``2.0`` through.
    """

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        self._rule = f"must be a whole number from {least} to {most}, or null"
        super().__init__(validate=ma.validate.Range(least, most, error=self._rule), allow_none=True, **kwargs)
        self.error_messages["invalid"] = self._rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class Instant(ma.fields.AwareDateTime):
    """A date and time after RFC 3339 section 5.6. marshmallow would let other text of ISO 8601 through, a NUL behind
    it, and the last hours of the year 9999 in time zones that are behind UTC.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error_messages["invalid"] = "must be a date and time with a time zone, after RFC 3339"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise self.make_error("invalid", input=value)
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid", input=value) from None


class Text(ma.fields.String):
    """Text for people, from *least* to *most* characters; without control characters and lone surrogates, which
    PostgreSQL or UTF-8 cannot hold. ``multiline`` admits line breaks and tabs.
    """

    def __init__(
        self, least: int, most: int, *, multiline: bool = False, description: str | None = None, **kwargs: Any
    ) -> None:
        self.most = most
        control = _CONTROL_BUT_BREAKS if multiline else _CONTROL
        self._forbidden = re.compile(rf"[{control}\ud800-\udfff]")
        length = ma.validate.Length(least, most, error=f"must have {least} to {most} characters")
        # The rules of _deserialize in one; surrogates are no characters where regular expressions know Unicode.
        end = f"[^{_CONTROL}{_WHITE_SPACE}]"
        pattern = f"{end}(?:[^{control}]*{end})?"
        metadata = {"pattern": f"^{pattern}$" if least else f"^(?:{pattern})?$"}
        if description is not None:
            metadata["description"] = description
        super().__init__(validate=length, metadata=metadata, **kwargs)
        self.error_messages["invalid"] = "must be a string"

    @property
    def column(self) -> str:
        """Where it is stored."""
        return self.attribute or self.name or ""

    @property
    def words(self) -> str:
        """What people call it."""
        return self.column.replace("_", " ")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if self._forbidden.search(text):
            raise ma.ValidationError("must not hold control characters or lone surrogates")
        if text != text.strip():
            raise ma.ValidationError("must not begin or end with white space")
        return text


class Flag(ma.fields.Boolean):
    """``true`` or ``false`` and nothing that stands for them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error_messages["invalid"] = "must be true or false"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class ScopeList(ma.fields.List[str]):
    """Scope tokens (RFC 6749 section 3.3), each once, at most 50."""

    def __init__(self, **kwargs: Any) -> None:
        token = ma.validate.Regexp(
            r"[!#-\[\]-~]{1,100}\Z",
            error="must be 1 to 100 printable ASCII characters without blank, quote and backslash",
        )
        super().__init__(
            ma.fields.String(validate=token, error_messages={"invalid": "must be a string"}),
            # The length first, so that a long list costs nothing.
            validate=[ma.validate.Length(max=50, error="must not name more than 50 scopes"), _must_be_unique],
            metadata={"uniqueItems": True},
            **kwargs,
        )


def _must_be_unique(scopes: list[str]) -> None:
    if len(set(scopes)) != len(scopes):
        raise ma.ValidationError("must not name a scope twice")
