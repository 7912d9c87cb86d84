"""How a request's query and body are read: strictly, and every error names its field."""

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
"""Bytes of a request's body."""

MAX_REMEMBERED = 256
"""Queries of which a process remembers what they say, at most 4 MB."""


class BoundedRequest(Request):
    """A request whose body is refused, and not cut off, where it is longer than ``MAX_BODY``."""

    # Flask would look it up in the configuration of the current application.
    max_content_length = MAX_BODY

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """The query's parameters. Bytes that are not UTF-8 are replaced, as they are if percent signs spell them."""
        try:
            return super().args
        except UnicodeDecodeError:
            self.query_string = self.query_string.decode(errors="replace").encode()
            return super().args

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. werkzeug leaves it to the server to notice that a part is missing, and gunicorn does not.

        :raises ClientDisconnected: when it is read, if the connection ended before all of the body was there.
        """
        stream, length = super().stream, self.content_length
        return stream if length is None else cast(IO[bytes], LimitedStream(self.environ["wsgi.input"], length))

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """The body.

        :raises RequestEntityTooLarge: it is too long; werkzeug would cut a chunked one off.
        """
        data = super().get_data(*args, **kwargs)
        if len(data) >= MAX_BODY and self.content_length is None:
            raise RequestEntityTooLarge
        return data


class Parser(FlaskParser):
    """webargs' parser, stricter: nothing is guessed, and every error names its field."""

    DEFAULT_VALIDATION_STATUS = 400

    def __init__(self) -> None:
        super().__init__()
        self._parsed: dict[tuple[Any, bytes], dict[str, Any]] = {}

    def parse(self, argmap: Any, req: Request | None = None, *, location: str | None = None, **options: Any) -> Any:
        """What a request holds. Queries that were valid are remembered, since clients send the same ones."""
        if location != "query":
            return super().parse(argmap, req, location=location, **options)
        query = argmap, current_request().query_string
        found = self._parsed.get(query)
        if found is None:
            found = super().parse(argmap, req, location=location, **options)
            if len(self._parsed) >= MAX_REMEMBERED:
                self._parsed.clear()
            self._parsed[query] = found
        return dict(found)

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        """The query's parameters, each once, and none that the schema lacks."""
        check_parameters(req.args, (field.data_key or name for name, field in schema.fields.items()))
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
            return json.loads(raw.decode(), parse_constant=_refuse, object_pairs_hook=unique)
        except (ValueError, RecursionError):
            raise ValidationError("The body is not JSON.", details={"body": ["must be valid JSON"]}) from None

    def handle_error(self, error: ma.ValidationError, *_: Any, **__: Any) -> NoReturn:
        """marshmallow's messages become ``details``: field -> rules."""
        details: dict[str, list[str]] = {}
        for messages in error.normalized_messages().values():  # type: ignore[no-untyped-call]
            fields = messages if isinstance(messages, dict) else {"body": messages}
            details |= {"body" if name == "_schema" else name: _rules(found) for name, found in fields.items()}
        raise ValidationError(details=details)


def check_parameters(given: MultiDict[str, str], known: Iterable[str] = ()) -> None:
    """Refuse a query that asks for what the operation does not have, or for two things at once.

    :param known: the parameters of the operation.
    :raises ValidationError: it names each parameter that is unknown or repeated, and those that there are.
    """
    names = [*known]
    unknown = {name: ["is no parameter of this operation"] for name in given if name not in names}
    repeated = {name: ["must be given once only"] for name in names if len(given.getlist(name)) > 1}
    if unknown:
        accepted = f"these query parameters: {', '.join(names)}" if names else "no query parameters"
        raise ValidationError(f"This operation accepts {accepted}.", details=repeated | unknown)
    if repeated:
        raise ValidationError(details=repeated)


def _rules(found: Any) -> list[str]:
    """The rules in marshmallow's messages of a field, each once: a list has them by the index of the item."""
    if isinstance(found, dict):
        return list(dict.fromkeys(rule for inner in found.values() for rule in _rules(inner)))
    return [str(rule) for rule in found]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object in JSON with these members.

    :raises ValueError: a name stands twice in it, of which two readers may take different ones.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return result
