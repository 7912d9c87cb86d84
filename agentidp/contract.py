"""The HTTP contract: blueprints whose arguments and OpenAPI come from the same marshmallow schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

import flask_smorest
import marshmallow as ma
from flask import Request, Response
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from .errors import UnsupportedMediaType, ValidationError

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""The greatest NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` knows."""

_DIGITS = re.compile(r"[0-9]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A compact JSON response; for bodies that are not worth a walk through a schema."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status, headers, mimetype="application/json")


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, whatever the session's time zone gave the value."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_resource_identifier(text: str) -> bool:
    """Whether *text* is an absolute URI without fragment (RFC 8707 section 2), of at most 500 characters."""
    if len(text) > 500 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", text) or "#" in text:
        return False
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    return bool(url.netloc or url.scheme == "urn")


class BoundedRequest(Request):
    """A request whose body is refused, and not cut off, where it is longer than ``MAX_CONTENT_LENGTH``."""

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """The body.

        :raises RequestEntityTooLarge: it is too long; werkzeug would cut a chunked one off.
        """
        data = super().get_data(*args, **kwargs)
        if self.content_length is None and len(data) >= (self.max_content_length or len(data) + 1):
            raise RequestEntityTooLarge
        return data


class Parser(FlaskParser):
    """webargs' parser, stricter: nothing is guessed, and every refusal names its field."""

    DEFAULT_VALIDATION_STATUS = 400

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The query's parameters; one that the schema knows and that comes twice is an error."""
        repeated = {name: ["must be given once only"] for name in schema.fields if len(req.args.getlist(name)) > 1}
        if repeated:
            raise ValidationError(details=repeated)
        return req.args.to_dict()

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """The body, as RFC 8259 says: no NaN, no repeated name, UTF-8 only. An absent one is empty."""
        raw = req.get_data()
        if not raw:
            if any(field.required for field in schema.fields.values()):
                raise ValidationError("A JSON body is required.", details={"body": ["is required"]})
            return {}
        if req.mimetype != "application/json":
            raise UnsupportedMediaType
        try:
            return json.loads(raw.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            raise ValidationError("The body is not JSON.", details={"body": ["must be valid JSON"]}) from None

    def handle_error(self, error: ma.ValidationError, *_: Any, **__: Any) -> NoReturn:
        """marshmallow's messages become ``details``: field -> rules."""
        details: dict[str, list[str]] = {}
        for messages in error.normalized_messages().values():
            fields = messages if isinstance(messages, dict) else {"body": messages}
            details |= {"body" if name == "_schema" else name: _rules(found) for name, found in fields.items()}
        raise ValidationError(details=details)


def _rules(found: Any) -> list[str]:
    """The rules in marshmallow's messages of a field, each once: a list has them by the index of the item."""
    if isinstance(found, dict):
        return list(dict.fromkeys(rule for inner in found.values() for rule in _rules(inner)))
    return [str(rule) for rule in found]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return result


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose ``arguments`` are read by :class:`Parser`."""

    ARGUMENTS_PARSER = Parser()


class ErrorSchema(ma.Schema):
    """The body of every error outside OAuth."""

    code = ma.fields.String(required=True)
    message = ma.fields.String(required=True)
    details = ma.fields.Dict(required=True)


class Api(flask_smorest.Api):
    """flask-smorest's, with our own error bodies."""

    ERROR_SCHEMA = ErrorSchema

    def _register_error_handlers(self) -> None:
        """Nothing: :mod:`agentidp.errors` renders every error."""


class WholeNumber(ma.fields.Integer):
    """A decimal number in ASCII digits, from *least* to *most*.

    ``int()`` would let ``1_0``, a blank, a sign and other scripts' digits through, and marshmallow's ``strict``
    refuses every string.
    """

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        self._rule = f"must be a whole number from {least} to {most}"
        super().__init__(validate=ma.validate.Range(least, most, error=self._rule), **kwargs)
        self.error_messages["invalid"] = self._rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | None:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


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

    def __init__(self, least: int, most: int, *, multiline: bool = False, **kwargs: Any) -> None:
        self._forbidden = re.compile(
            r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]" if multiline else r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"
        )
        length = ma.validate.Length(least, most, error=f"must have {least} to {most} characters")
        super().__init__(validate=length, **kwargs)
        self.error_messages["invalid"] = "must be a string"

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


class ScopeList(ma.fields.List):
    """Scope tokens (RFC 6749 section 3.3), each once, at most 50."""

    def __init__(self, **kwargs: Any) -> None:
        token = ma.validate.Regexp(
            r"[\x21\x23-\x5b\x5d-\x7e]{1,100}\Z",
            error="must be 1 to 100 printable ASCII characters without blank, quote and backslash",
        )
        super().__init__(
            ma.fields.String(validate=token, error_messages={"invalid": "must be a string"}),
            # The length first, so that a long list costs nothing.
            validate=[ma.validate.Length(max=50, error="must not name more than 50 scopes"), _must_be_unique],
            **kwargs,
        )


def _must_be_unique(scopes: list[str]) -> None:
    if len(set(scopes)) != len(scopes):
        raise ma.ValidationError("must not name a scope twice")
