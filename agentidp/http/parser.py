"""Strict parsing of a request's query and body. Every error names its field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any, NoReturn, cast

import marshmallow as ma
from flask import Request
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

from agentidp.http.errors import UnsupportedMediaType, ValidationError
from agentidp.http.request_context import current_request

MAX_BODY = 64 * 1024
"""Maximum number of bytes of a request's body."""

MAX_CACHED_QUERIES = 256
"""Maximum number of parsed queries that a process caches. They take at most 4 MB of memory."""


class BoundedRequest(Request):
    """A request that is refused if its body is longer than ``MAX_BODY``. Werkzeug would truncate a chunked body."""

    # This attribute spares Flask the lookup of the maximum in its configuration for each request.
    max_content_length = MAX_BODY

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The parameters of the query. Bytes that are not UTF-8 are replaced by U+FFFD."""
        try:
            return super().args
        except UnicodeDecodeError:
            self.query_string = self.query_string.decode(errors="replace").encode()
            return super().args

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body as a stream. An incomplete body raises ``ClientDisconnected`` instead of ending without an error."""
        stream, content_length = super().stream, self.content_length
        return (
            stream
            if content_length is None
            else cast(IO[bytes], LimitedStream(self.environ["wsgi.input"], content_length))
        )

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """Return the body. Raise ``RequestEntityTooLarge`` for a chunked body that Werkzeug would truncate."""
        data = super().get_data(*args, **kwargs)
        if len(data) >= MAX_BODY and self.content_length is None:
            raise RequestEntityTooLarge
        return data


class Parser(FlaskParser):
    """A parser of webargs that also refuses unknown and repeated names."""

    DEFAULT_VALIDATION_STATUS = 400

    def __init__(self) -> None:
        super().__init__()
        self._parsed: dict[tuple[Any, bytes], dict[str, Any]] = {}

    def parse(self, argmap: Any, req: Request | None = None, *, location: str | None = None, **options: Any) -> Any:
        """Return the parsed body or query. Valid queries are cached, because clients repeat the same queries."""
        if location != "query":
            return super().parse(argmap, req, location=location, **options)
        cache_key = argmap, current_request().query_string
        arguments = self._parsed.get(cache_key)
        if arguments is None:
            arguments = super().parse(argmap, req, location=location, **options)
            if len(self._parsed) >= MAX_CACHED_QUERIES:
                self._parsed.clear()
            self._parsed[cache_key] = arguments
        return dict(arguments)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """Return the parameters of the query. Refuse unknown and repeated parameters."""
        check_parameters(req.args, (field.data_key or name for name, field in schema.fields.items()))
        return req.args.to_dict()

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """Return the JSON body, or ``{}`` without a body. Refuse NaN, repeated names and bytes that are not UTF-8."""
        json_bytes = req.get_data()
        if not json_bytes:
            if any(field.required for field in schema.fields.values()):
                raise ValidationError("A JSON body is required.", details={"body": ["is required"]})
            return {}
        if req.mimetype != "application/json":
            raise UnsupportedMediaType
        try:
            return json.loads(json_bytes.decode(), parse_constant=refuse_constant, object_pairs_hook=build_object)
        except (ValueError, RecursionError):
            raise ValidationError("The body is not JSON.", details={"body": ["must be valid JSON"]}) from None

    def handle_error(self, error: ma.ValidationError, *_: Any, **__: Any) -> NoReturn:
        """Raise a ``ValidationError`` with marshmallow's messages by field."""
        rules_by_field: dict[str, list[str]] = {}
        for location_errors in error.normalized_messages().values():  # type: ignore[no-untyped-call]
            errors_by_field = location_errors if isinstance(location_errors, dict) else {"body": location_errors}
            rules_by_field |= {
                "body" if field_name == "_schema" else field_name: _list_broken_rules(field_errors)
                for field_name, field_errors in errors_by_field.items()
            }
        raise ValidationError(details=rules_by_field)


def check_parameters(parameters: MultiDict[str, str], accepted_names: Iterable[str] = ()) -> None:
    """Refuse unknown and repeated parameters of a query. The error names the accepted parameters."""
    accepted_names = [*accepted_names]
    details = {name: ["must be given once only"] for name in accepted_names if len(parameters.getlist(name)) > 1}
    if unknown_names := [name for name in parameters if name not in accepted_names]:
        details |= {name: ["is no parameter of this operation"] for name in unknown_names}
        accepted_phrase = (
            f"these query parameters: {', '.join(accepted_names)}" if accepted_names else "no query parameters"
        )
        raise ValidationError(f"This operation accepts {accepted_phrase}.", details=details)
    if details:
        raise ValidationError(details=details)


def _list_broken_rules(field_errors: Any) -> list[str]:
    """Return marshmallow's messages about a field, or about a list and its items, without repetitions."""
    if isinstance(field_errors, dict):
        field_errors = [rule for item_errors in field_errors.values() for rule in _list_broken_rules(item_errors)]
    return list(dict.fromkeys(map(str, field_errors)))


def refuse_constant(constant: str) -> NoReturn:
    """Raise an error for NaN or Infinity, which :func:`json.loads` would accept."""
    raise ValueError(constant)


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raise ``ValueError`` for a repeated name, because parsers disagree about its value."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return members
