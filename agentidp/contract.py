"""The HTTP contract: blueprints whose arguments and OpenAPI come from the same marshmallow schemas."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import flask_smorest
import marshmallow as ma
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, Request, Response, request
from flask_smorest.spec.plugins import FlaskPlugin
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_accept_header
from werkzeug.routing import Rule

from agentidp.errors import ApiError, UnsupportedMediaType, ValidationError

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""The greatest NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` knows."""

RESOURCE_IDENTIFIER = (
    r"(?:[Uu][Rr][Nn]:[!\x22$-~]+|[A-Za-z][A-Za-z0-9+.-]*://"
    r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?][!\x22$-~]*)?)"
)
"""A regular expression: a URN, or a URI with a host (RFC 3986), without user information and fragment."""

MAXIMUM_RESOURCE_LENGTH = 500
"""Characters."""

_ALL: list[type[ApiError]] = [ApiError, *ApiError.__subclasses__()]
ERRORS = {error.status: error for error in _ALL}
"""Status -> the error that it stands for."""

OAUTH_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_scope",
    "invalid_target",
    "invalid_dpop_proof",
    "unauthorized_client",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "server_error",
)
"""What ``error`` can be at an OAuth endpoint."""

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's own where it is plain, or else one that we give it; it stands in our log",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750 section 3, RFC 7617)",
        "schema": {"type": "string", "pattern": "^(?:Bearer|Basic|DPoP) "},
    },
    "Retry-After": {
        "description": "Seconds until it is worth another try",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "Where the new one is", "schema": {"type": "string", "format": "uri-reference"}},
    "ETag": {
        "description": "Of the body: sent as `If-None-Match`, it spares the body while that is the same",
        "schema": {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
    },
    "Cache-Control": {
        "description": "Whoever keeps the answer asks again before it is used",
        "schema": {"type": "string", "const": "private, no-cache"},
    },
    "Vary": {
        "description": "What the answer depends on besides the address",
        "schema": {"type": "string", "const": "Authorization, Accept"},
    },
    "Content-Disposition": {
        "description": "The name of the file, of CSV only (RFC 6266)",
        "required": False,
        "schema": {"type": "string", "pattern": '^attachment; filename="[a-z0-9-]+\\.csv"$'},
    },
}
"""The response headers of the OpenAPI document."""

_ERROR_DESCRIPTIONS = {
    503: "The database is unreachable, exhausted or too slow. Nothing was done, unless the text says that it is "
    "unknown whether the request was carried out: then a token may have been issued and counted.",
}
_ERROR_HEADERS = {401: ["WWW-Authenticate"], 403: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
# In what ECMA-262 and Python have in common. The white space is what str.strip() takes and is not a control character.
_CONTROL = r"\u0000-\u001f\u007f-\u009f"
_CONTROL_BUT_BREAKS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_WHITE_SPACE = r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CSV = "text/csv; charset=utf-8; header=present"
_CSV_ACCEPTED = ("text/csv", "text/csv;charset=utf-8", "text/csv;charset=utf-8;header=present")
# The last four are full-width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_DIGITS = re.compile(r"[0-9]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A compact JSON response; for bodies that are not worth a walk through a schema."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return Response(text, status, headers, mimetype="application/json")


def answer(body: dict[str, Any], item: type[ma.Schema]) -> Response:
    """*body* as JSON, or its ``data`` as CSV (RFC 4180) where the request's ``Accept`` prefers that. Where it is what
    the client has already by its ``If-None-Match``, a 304 in its place (RFC 9110 section 13.1.2).

    The ETag is weak, since a proxy that compresses makes a strong one weak or drops it, and nothing that is sent here
    is asked for in parts.

    :param body: ``data`` lists the rows.
    :param item: what is in ``data``. Its names are the header row; those of an object in it come after the object's
        own and a dot.
    """
    is_csv = _prefers_csv(request.environ.get("HTTP_ACCEPT", ""))
    text = _csv(body["data"], item) if is_csv else json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    content = text.encode()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    headers = {"ETag": f'W/"{digest}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}
    # Not by Response.make_conditional: its Date would come on top of gunicorn's, and it refuses "If-Match: *".
    if request.if_none_match.contains_weak(digest):
        return Response(status=304, headers=headers)
    if is_csv:
        name = "-".join(map(str, (request.blueprint, *(request.view_args or {}).values())))
        headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return Response(content, headers=headers, content_type=_CSV if is_csv else "application/json")


@functools.lru_cache(maxsize=256)
def _prefers_csv(accept: str) -> bool:
    """Whether an ``Accept`` prefers CSV to JSON (RFC 9110 section 12.5.1). Remembered, since there are few of them and
    a browser's takes 90 µs to read.
    """
    accepted = parse_accept_header(accept, MIMEAccept)
    return accepted.best_match(("application/json", *_CSV_ACCEPTED)) in _CSV_ACCEPTED


def _csv(rows: list[dict[str, Any]], item: type[ma.Schema]) -> str:
    columns = _columns(item)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(".".join(path) for path in columns)
    writer.writerows([_cell(functools.reduce(operator.getitem, path, row)) for path in columns] for row in rows)
    return text.getvalue()


@functools.cache
def _columns(item: type[ma.Schema]) -> list[tuple[str, ...]]:
    """Where in an object after a schema each column is: the names on the way to it."""
    columns: list[tuple[str, ...]] = []
    for name, field in item().fields.items():
        below = _columns(type(field.schema)) if isinstance(field, ma.fields.Nested) else [()]
        columns += [(field.data_key or name, *path) for path in below]
    return columns


def _cell(value: Any) -> Any:
    """A value as a cell; a list as its JSON. Text that a spreadsheet would take for a formula gets a quote before it
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, whatever the session's time zone gave the value."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_resource_identifier(text: str) -> bool:
    """Whether *text* is an absolute URI without fragment (RFC 8707 section 2), of at most 500 characters."""
    return len(text) <= MAXIMUM_RESOURCE_LENGTH and re.fullmatch(RESOURCE_IDENTIFIER, text) is not None


def camel_case(name: str) -> str:
    """``agent_id`` as our JSON and our addresses spell it: ``agentId``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


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
        for messages in error.normalized_messages().values():  # type: ignore[no-untyped-call]
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
    """A blueprint whose ``arguments`` are read by :class:`Parser`, and whose routes are described in the OpenAPI
    document by what they declare: how they authenticate, what they read, and the ids in their address.
    """

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(self._describe)

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Register a route, and keep what describes it."""
        super().add_url_rule(rule, endpoint, view_func, **options)
        endpoint = self._endpoints[-1]
        declared = {"name": endpoint, "rule": rule, "authentication": getattr(view_func, "authentication", None)}
        for method, described in self._docs[endpoint].items():
            if method != "parameters":
                described["declared"] = declared

    def answers(self, schema: type[ma.Schema]) -> Callable[[Any], Any]:
        """Describe a view that returns :func:`answer`: the JSON's schema, CSV and 304.

        :param schema: of the JSON.
        """
        headers = {name: name for name in ("ETag", "Cache-Control", "Vary")}
        file = {"Content-Disposition": "Content-Disposition"}
        unchanged = "The body is the one that `If-None-Match` names (RFC 9110 section 13.1.2)"

        def decorate(view: Any) -> Any:
            view = self.alt_response(304, description=unchanged, headers=headers)(view)
            view = self.alt_response(200, schema={"type": "string"}, content_type="text/csv", headers=file)(view)
            return self.response(200, schema, headers=headers)(view)

        return decorate

    @staticmethod
    def _describe(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        declared = doc_info["declared"]
        responses = doc["responses"]
        # What every answer has that this one can be; the rest stands at the view.
        # A second access token is a 400 wherever one is needed.
        is_public = declared["authentication"] == "public"
        refused = [] if is_public and "arguments" not in doc_info else [400]
        if "requestBody" in doc:
            refused += [413, 415]
        if "<" in declared["rule"]:
            refused.append(404)
        if is_public:
            doc["security"] = []
        else:
            refused += [401, 403, 503]
            doc["security"] = [{"oauth2": [declared["authentication"]]}, {"bearer": []}, {"dpop": []}]
        responses.update({status: ERRORS[status].code for status in refused})
        for response in responses.values():
            if isinstance(response, dict):
                response.setdefault("headers", {})["X-Request-Id"] = "X-Request-Id"
        return doc | {"operationId": declared["name"]}


class ErrorSchema(ma.Schema):
    """The body of every error outside OAuth."""

    code = ma.fields.String(required=True, validate=ma.validate.OneOf(sorted({e.code for e in ERRORS.values()})))
    message = ma.fields.String(required=True)
    details = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.String()),
        required=True,
        metadata={"description": "Field -> the rules that it breaks"},
    )


class OAuthErrorSchema(ma.Schema):
    """The body of every error of an OAuth endpoint (RFC 6749 section 5.2)."""

    error = ma.fields.String(required=True, validate=ma.validate.OneOf(OAUTH_ERRORS))
    error_description = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[ !#-\[\]-~]+\Z"))


class DescribedConverter(OpenAPIConverter):
    """Schemas as JSON Schema, with what fields alone cannot say in ``Meta.json_schema``."""

    def schema2jsonschema(self, schema: ma.Schema) -> dict[str, Any]:
        """A schema as JSON Schema."""
        described: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return described | getattr(schema.Meta, "json_schema", {})

    def field2pattern(self, field: ma.fields.Field[Any], **kwargs: Any) -> dict[str, str]:
        """A validator's regular expression as ECMA-262 has it: it matches anywhere, and has no ``\\Z``."""
        pattern = super().field2pattern(field, **kwargs).get("pattern")
        return {"pattern": f"^(?:{pattern.removesuffix(chr(92) + 'Z')})$"} if pattern else {}


class DescribedSchemas(MarshmallowPlugin):
    """apispec's plugin with :class:`DescribedConverter`."""

    Converter = DescribedConverter


class CamelCaseParameters(FlaskPlugin):
    """Routes whose parameters have the names that our JSON has."""

    @staticmethod
    def flaskpath2openapi(path: str) -> str:
        """A Flask rule as an OpenAPI path."""
        return re.sub(r"{(\w+)}", lambda name: f"{{{camel_case(name[1])}}}", FlaskPlugin.flaskpath2openapi(path))

    def rule_to_params(self, rule: Rule) -> list[dict[str, Any]]:
        """The parameters of a Flask rule."""
        return [parameter | {"name": camel_case(parameter["name"])} for parameter in super().rule_to_params(rule)]


class Api(flask_smorest.Api):
    """flask-smorest's, with our own error bodies: each operation names those that it can answer with."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        super().__init__(
            app, spec_kwargs={"flask_plugin": CamelCaseParameters(), "marshmallow_plugin": DescribedSchemas()}
        )

    def _register_error_handlers(self) -> None:
        """Nothing: :mod:`agentidp.errors` renders every error."""

    def _register_responses(self) -> None:
        """The headers, and the errors by their codes; ``OAUTH_`` stands before those of the OAuth endpoints."""
        components = self.spec.components
        for name, header in HEADERS.items():
            components.header(name, {"required": True, **header}, lazy=True)
        for status, error in ERRORS.items():
            own = {"allOf": [ErrorSchema, {"properties": {"code": {"const": error.code}}}]}
            for name, schema in ((error.code, own), (f"OAUTH_{error.code}", OAuthErrorSchema)):
                response = {
                    "description": _ERROR_DESCRIPTIONS.get(status, error.code.replace("_", " ").capitalize()),
                    "headers": {header: header for header in ("X-Request-Id", *_ERROR_HEADERS.get(status, ()))},
                    "content": {"application/json": {"schema": schema}},
                }
                components.response(name, response, lazy=True)


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
        control = _CONTROL_BUT_BREAKS if multiline else _CONTROL
        self._forbidden = re.compile(rf"[{control}\ud800-\udfff]")
        length = ma.validate.Length(least, most, error=f"must have {least} to {most} characters")
        # The rules of _deserialize in one; surrogates are no characters where regular expressions know Unicode.
        end = f"[^{_CONTROL}{_WHITE_SPACE}]"
        pattern = f"{end}(?:[^{control}]*{end})?"
        super().__init__(
            validate=length, metadata={"pattern": f"^{pattern}$" if least else f"^(?:{pattern})?$"}, **kwargs
        )
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
