"""The fields of bodies and queries. They accept exactly what the API documents; marshmallow accepts more.

A schema, such as ``AgentFields``, describes a stored object once, with one :class:`Member` per setting. From the schema
follow the bodies of requests and responses, the options of commands, forms, pages, files and audit events, and the
tables of members in the documentation.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import marshmallow as ma

from agentidp.http.text import CONTROL, CONTROL_BUT_BREAKS, INVISIBLE, text_refusal

MAX_DAYS = 90
"""Maximum of the parameter ``days``: the number of days until today, including today.

A month, or a period from ``from`` to ``to``, may have ``MAX_PERIOD_DAYS`` days (:mod:`agentidp.analytics.period`).
"""

MAX_OWNER = 200
"""Maximum number of characters of the name of an owner."""

MAX_NAME = 100
"""Maximum number of characters of the name of an object or a person."""

# Text may contain this white space, but must not begin or end with white space. The escapes are valid in ECMA-262 and
# in Python.
_WHITE_SPACE = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DIGITS = re.compile(r"[0-9]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

_Schema = TypeVar("_Schema", bound=ma.Schema)


def timestamp(at: datetime | None) -> str | None:
    """Return an instant as text in UTC (RFC 3339), and ``None`` as ``None``."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def required(description: str = "", *, nullable: bool = False) -> dict[str, Any]:
    """Return marshmallow's arguments for a field that all responses contain. A *nullable* field can be ``null``."""
    metadata = {"description": description} if description else {}
    return {"required": True, "allow_none": nullable, "metadata": metadata}


def words_of(name: str) -> str:
    """Return a camelCase name as lower-case words: ``agentId`` becomes ``agent id``."""
    return re.sub("[A-Z]", lambda capital: f" {capital[0].lower()}", name)


def list_read_only_names(schema: type[ma.Schema]) -> tuple[str, ...]:
    """Return the names of the fields that only responses have, which schemas of request bodies must exclude."""
    return tuple(field_name for field_name, field in schema().fields.items() if field.dump_only)


def list_write_only_names(schema: type[ma.Schema]) -> tuple[str, ...]:
    """Return the names of the fields that only request bodies have, which schemas of responses must exclude."""
    return tuple(field_name for field_name, field in schema().fields.items() if field.load_only)


def merge_changed_columns(body_schema: ma.Schema, row: Any, change: dict[str, Any]) -> dict[str, Any]:
    """Return all columns that a request body can change: the values in *change*, and otherwise the values in *row*."""
    changeable_columns = [field.attribute or member_name for member_name, field in body_schema.fields.items()]
    return {column_name: change.get(column_name, getattr(row, column_name)) for column_name in changeable_columns}


class ReturnedSchema(ma.Schema):
    """The members of an object in responses. Only members in :attr:`optional` can be missing."""

    optional: tuple[str, ...] = ()

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """Require a field unless it is in :attr:`optional`. The field is a copy, so other schemas do not change."""
        field_obj.required = field_name not in self.optional
        field_obj.load_default, field_obj.dump_only = ma.missing, False

    def as_json(self, row: Any) -> dict[str, Any]:
        """Return a row as a JSON object of the API."""
        return dict(self.dump(row))


def list_of(returned: type[ReturnedSchema]) -> type[ma.Schema]:
    """Return the schema of a response whose ``data`` has all objects of a kind."""
    name = f"{returned.__name__.removesuffix('Schema')}ListSchema"
    return type(name, (ma.Schema,), {"data": ma.fields.List(ma.fields.Nested(returned), required=True)})


class ChangeSchema(ma.Schema):
    """The body of a PATCH. Omitted members keep their values, so no field is required or has a default."""

    class Meta:
        json_schema = {"minProperties": 1}

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """Make a field optional, without a default. The field is a copy, so other schemas do not change."""
        field_obj.required, field_obj.load_default = False, ma.missing

    @ma.validates_schema
    def refuse_empty_change(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a PATCH without members."""
        if not data:
            raise ma.ValidationError("must name something to change", "body")


def new_schema(fields: type[ma.Schema], *exclude: str) -> type[ma.Schema]:
    """Return the schema of the request body that creates an object.

    :param fields: the schema that describes the object.
    :param exclude: members that the body cannot set.
    """
    return _derive_schema("New{}Schema", ma.Schema, fields, (*list_read_only_names(fields), *exclude))


def change_schema(fields: type[ma.Schema], *exclude: str) -> type[ChangeSchema]:
    """Return the schema of the request body that changes an object. The parameters are those of :func:`new_schema`."""
    return _derive_schema("{}ChangeSchema", ChangeSchema, fields, (*list_read_only_names(fields), *exclude))


def returned_schema(fields: type[ma.Schema]) -> type[ReturnedSchema]:
    """Return the schema of an object in responses."""
    return _derive_schema("{}Schema", ReturnedSchema, fields, list_write_only_names(fields))


def _derive_schema(
    name: str, base_schema: type[_Schema], fields_schema: type[ma.Schema], exclude: tuple[str, ...]
) -> type[_Schema]:
    base_classes = (fields_schema,) if base_schema is ma.Schema else (base_schema, fields_schema)
    meta_class = type("Meta", (base_schema.Meta,), {"exclude": exclude})
    return cast(
        "type[_Schema]",
        type(name.format(fields_schema.__name__.removesuffix("Fields")), base_classes, {"Meta": meta_class}),
    )


class WholeNumber(ma.fields.Integer):
    """A query parameter that is a number in decimal ASCII digits. ``int()`` would also accept ``1_0`` and blanks."""

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        self._rule = f"must be a whole number from {minimum} to {maximum}"
        super().__init__(validate=ma.validate.Range(minimum, maximum, error=self._rule), **kwargs)
        self.error_messages["invalid"] = self._rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Member(ma.fields.Field[Any]):
    """A member of a stored object, described once for the API, commands, forms, pages, files and documentation.

    Names of a member, with those of a resource server's ``agentId`` as an example:

    ==============  ================================================================  ============
    ``name``        in the API, in files and in audit events                          ``agentId``
    ``column``      in the database: the parameter *attribute*, or else ``name``      ``agent_id``
    ``words``       for people; default: the words of the column                      ``agent``
    ``word``        for people: the words in the singular, for an item of a list      ``agent``
    ``label``       for people: the words with a capital letter                       ``Agent``
    ``option``      of commands, for one item of a list; default: the word            ``--agent``
    ``typed_name``  of the form field and of the command's argument; default: name    ``agentId``
    ==============  ================================================================  ============

    :param description: what the member means, for people.
    :param nothing: the meaning of ``null`` or of an empty string.
    :param metavar: the value of the option in the help of commands.
    :param typed_name: needed if two members of one form have the same ``name``.
    :param is_listed: whether lists show the member.
    """

    kind = "text"
    """The kind of form control: ``text``, ``lines``, ``number``, ``choice``, ``flag``, ``instant``, ``agent``,
    ``choices``, ``items`` (one per line), or ``document``, which commands read from a file."""

    typed_as = ""
    """The description for forms and commands, if people type another format than the API's."""

    def __init__(
        self,
        *,
        description: str | None = None,
        nothing: str | None = None,
        words: str | None = None,
        option: str | None = None,
        metavar: str | None = None,
        typed_name: str | None = None,
        is_listed: bool = False,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Commands and forms show the description without Markdown.
        self.markdown, self.description = description, description and description.replace("`", "")
        self.nothing, self.metavar, self.is_listed = nothing, metavar, is_listed
        self._words, self._option, self._typed_name = words, option, typed_name
        super().__init__(metadata=metadata, **kwargs)
        if description is not None:
            # allow_none is read after marshmallow's constructor, which sets it to True if the default value is None.
            meaning = f"{description}; null: {nothing}" if self.allow_none and nothing else description
            self.metadata = {**self.metadata, "description": meaning}

    def _bind_to_schema(self, field_name: str, parent: Any) -> None:
        super()._bind_to_schema(field_name, parent)
        self.column = self.attribute or field_name
        self.words = self._words or self.column.replace("_", " ")
        self.word = self.words.removesuffix("s") if isinstance(self, Items) else self.words
        self.label = self.words[:1].upper() + self.words[1:]
        self.option = self._option or f"--{self.word.replace(' ', '-')}"
        self.typed_name = self._typed_name or field_name

    @property
    def default(self) -> Any:
        """The value of an omitted member, or :data:`marshmallow.missing` if there is no default."""
        return self.load_default() if callable(self.load_default) else self.load_default

    def parse_input(self, user_input: Any) -> Any:
        """Return the API's JSON value for a typed text or a list of texts; ``None`` for no input if null is allowed."""
        return None if self.allow_none and not user_input else user_input

    def format_input(self, value: Any) -> Any:
        """Return the text that people would type for a value of the API. ``items`` have one line per item."""
        return "" if value is None or value is ma.missing else value


class Number(Member, ma.fields.Integer):
    """A member that is an integer. marshmallow would also accept ``true`` and ``2.0``."""

    kind = "number"

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        self.minimum, self.maximum = minimum, maximum
        super().__init__(**kwargs)
        rule = f"must be a whole number from {minimum} to {maximum}" + (", or null" if self.allow_none else "")
        self.validators.append(ma.validate.Range(minimum, maximum, error=rule))
        self.error_messages |= {"invalid": rule, "null": rule}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value

    def parse_input(self, user_input: Any) -> Any:
        """Return typed digits as a number, and other text unchanged, because the schema refuses it later."""
        return parse_number(user_input) if user_input else super().parse_input(user_input)


def parse_number(text: str) -> int | str:
    """Return a text of at most 15 digits as a number, and any other text unchanged."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else text


class Instant(Member, ma.fields.AwareDateTime):
    """A member that is a date and time (RFC 3339 section 5.6). marshmallow would also accept a trailing NUL."""

    kind = "instant"
    default_error_messages = {"invalid": "must be a date and time with a time zone, after RFC 3339"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise self.make_error("invalid", input=value)
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid", input=value) from None

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return timestamp(value)

    def parse_input(self, user_input: Any) -> Any:
        """Return the typed instant or day as a date and time."""
        return timestamp(parse_instant(user_input)) if user_input or self.required else super().parse_input(user_input)


def parse_instant(text: str) -> datetime:
    """Return the instant of a date and time with a time zone, or of a day, which begins at 00:00 UTC."""
    with contextlib.suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
        if len(text) == len("2026-04-15"):
            return at.replace(tzinfo=UTC)
    raise ma.ValidationError("must be a day (2026-04-15), or a date and time with a time zone (2026-04-15T12:00:00Z)")


class Text(Member, ma.fields.String):
    """A member that is text for people (:mod:`agentidp.http.text`), with line breaks and tabs only if *multiline*."""

    default_error_messages = {"invalid": "must be a string"}

    def __init__(self, minimum: int, maximum: int, *, multiline: bool = False, **kwargs: Any) -> None:
        self.maximum = maximum
        self.kind = "lines" if multiline else "text"
        forbidden_characters = (CONTROL_BUT_BREAKS if multiline else CONTROL) + INVISIBLE
        length_check = ma.validate.Length(minimum, maximum, error=f"must have {minimum} to {maximum} characters")
        # The pattern matches the text that _deserialize accepts, and also text with characters that a pattern cannot
        # exclude (agentidp.http.text._IN_NO_SCHEMA).
        edge_character = f"[^{CONTROL}{INVISIBLE}{_WHITE_SPACE}]"
        pattern = f"{edge_character}(?:[^{forbidden_characters}]*{edge_character})?"
        metadata = {"pattern": f"^{pattern}$" if minimum else f"^(?:{pattern})?$"}
        super().__init__(validate=length_check, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if broken_rule := text_refusal(text, is_multiline=self.kind == "lines"):
            raise ma.ValidationError(broken_rule)
        if text != text.strip():
            raise ma.ValidationError("must not begin or end with white space")
        return text


class Exact(Member, ma.fields.String):
    """A member that is text for programs, such as an identifier.

    :param maximum: the maximum number of characters.
    :param pattern: a regular expression for the whole text.
    :param rule: the pattern in words, for the error message.
    """

    def __init__(self, maximum: int, pattern: str, rule: str, **kwargs: Any) -> None:
        self.maximum = maximum

        def check(text: str) -> None:
            if len(text) > maximum or not re.fullmatch(pattern, text):
                raise ma.ValidationError(rule)

        super().__init__(validate=check, metadata={"pattern": f"^{pattern}$", "maxLength": maximum}, **kwargs)
        self.error_messages["invalid"] = "must be a string" + (" or null" if self.allow_none else "")


class Choice(Member, ma.fields.String):
    """A member that is one of several fixed strings."""

    kind = "choice"

    def __init__(self, values: Iterable[str], **kwargs: Any) -> None:
        self.values = tuple(values)
        rule = "must be one of " + ", ".join(self.values)
        super().__init__(validate=ma.validate.OneOf(self.values, error=rule), **kwargs)
        self.error_messages |= {"invalid": rule, "null": rule}


class Flag(Member, ma.fields.Boolean):
    """A member that is ``true`` or ``false``. marshmallow would also accept ``"yes"`` and ``1``."""

    kind = "flag"
    default_error_messages = {"invalid": "must be true or false"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class AgentId(Member, ma.fields.UUID):
    """A member that is the id of an agent. In commands and forms, people can type the agent's name too."""

    kind = "agent"
    maximum = MAX_NAME
    default_error_messages = {"invalid_uuid": "must be an agent's id"}


class Items(Member, ma.fields.List[Any]):
    """A member that is a list of strings. The field *item* validates each string."""

    def __init__(self, item: ma.fields.String | AgentId, **kwargs: Any) -> None:
        self.item = item
        self.kind = "choices" if isinstance(item, Choice) else "items"
        super().__init__(cls_or_instance=item, **kwargs)

    def format_input(self, value: Any) -> Any:
        """Return the items as text, one line per item. The values of ``choices`` stay a list."""
        return super().format_input(value) if self.kind == "choices" else "\n".join(value or [])


class Group(Member, ma.fields.Nested):
    """A member that is an object, which the database stores as JSON."""

    kind = "group"

    def __init__(self, nested: type[ma.Schema], **kwargs: Any) -> None:
        super().__init__(nested=nested, **kwargs)

    def _serialize(self, *args: Any, **kwargs: Any) -> Any:
        return args[0]


class ScopeList(Items):
    """A member with up to 50 different scopes (RFC 6749 section 3.3)."""

    def __init__(self, **kwargs: Any) -> None:
        scope_validator = ma.validate.Regexp(
            r"[!#-\[\]-~]{1,100}\Z",
            error="must be 1 to 100 printable ASCII characters without blank, quote and backslash",
        )
        super().__init__(
            ma.fields.String(validate=scope_validator, error_messages={"invalid": "must be a string"}),
            validate=list_rules(50, "a scope"),
            metadata={"uniqueItems": True},
            **kwargs,
        )


def list_rules(maximum: int, noun: str) -> list[Callable[[list[Any]], Any]]:
    """Return validators that refuse a list with too many or repeated items. *noun* names an item, with its article."""
    plural = f"{noun.partition(' ')[2]}s"
    # The length comes first, so that a long list is refused without checking its items.
    return [ma.validate.Length(max=maximum, error=f"must not name more than {maximum} {plural}"), validate_unique(noun)]


def validate_unique(noun: str) -> Callable[[list[Any]], None]:
    """Return a validator that refuses lists with repeated items. *noun* names an item, with its article."""

    def check(items: list[Any]) -> None:
        if len(set(items)) != len(items):
            raise ma.ValidationError(f"must not name {noun} twice")

    return check
