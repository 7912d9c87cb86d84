"""Options that several commands share, and options that set the fields of an object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

import click
import marshmallow as ma

from agentidp.http.schemas import (
    AgentId,
    ChangeSchema,
    Choice,
    Flag,
    Group,
    Items,
    Member,
    Number,
    parse_instant,
    parse_number,
    words_of,
)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def parse_time(text: str) -> datetime:
    """Parse a day (00:00 UTC), or a date and time with a time zone, from an option."""
    try:
        return parse_instant(text)
    except ma.ValidationError as error:
        raise click.BadParameter(str(error.messages[0])) from None


class WholeNumber(click.IntRange):
    """The type of options that are whole numbers within limits. Its error messages name both limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as a number, or raise BadParameter if the value is not within the limits."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = f"of at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"must be a whole number {bounds}, not {value!r}", param, ctx)


NONE = "none"
"""The value of a numeric option that sets the option's field to ``null``."""

LISTS = ("items", "choices")
"""The kinds of fields whose options may be repeated."""


def add_member_options(schema: ma.Schema) -> Decorator:
    """Return a decorator that gives a command an option per member of a request body. See :func:`read_options`.

    :param schema: the body's schema without the members that get no option. The options of the members in the schema's
        ``partial`` may be omitted, even if the API requires these members.
    """
    option_decorators = _make_options(schema)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for add_option in reversed(option_decorators):
            command = add_option(command)
        return command

    return decorate


def _make_options(schema: ma.Schema) -> list[Decorator]:
    is_for_new_object = not isinstance(schema, ChangeSchema)
    optional_names = () if isinstance(schema.partial, bool) else schema.partial or ()
    options: list[Decorator] = []
    for field_name, field in _list_members(schema):
        if isinstance(field, Group):
            options += _make_options(field.schema)
        else:
            is_required = is_for_new_object and field.required and field_name not in optional_names
            options += _make_field_options(field, is_for_new_object=is_for_new_object, is_required=is_required)
    return options


def read_options(schema: ma.Schema, options: dict[str, Any]) -> dict[str, Any]:
    """Return the request body, as JSON of the API, from the options that :func:`add_member_options` added.

    :raises click.UsageError: a value is invalid, two options contradict each other, or no option changes the object.
    """
    members: dict[str, Any] = {}
    for member_name, field in _list_members(schema):
        option_value = options.get(field.typed_name)
        if isinstance(field, Group):
            inner_members = read_options(field.schema, options)
            members |= {member_name: inner_members} if inner_members or not isinstance(schema, ChangeSchema) else {}
        elif field.kind in LISTS:
            is_emptied = options.get(_name_emptying_argument(field))
            if is_emptied and option_value:
                raise click.UsageError(f"give {field.option} or {_name_emptying_option(field)}, not both")
            if is_emptied or option_value:
                members[member_name] = _parse_value(field, list(option_value or ()))
        elif option_value is not None:
            is_null = field.allow_none and option_value == NONE
            members[member_name] = _parse_value(field, "" if is_null else option_value)
    if isinstance(schema, ChangeSchema) and not members:
        raise click.UsageError("give at least one option with a new value")
    return members


def _parse_value(field: Member, option_value: Any) -> Any:
    try:
        return field.parse_input(option_value)
    except ma.ValidationError as error:
        raise click.BadParameter(str(error.messages[0]), param_hint=field.option) from None


def describe_fields(schema_class: type[ma.Schema]) -> str:
    """Return the names of a schema's fields as words, separated by commas, for the help of a command."""
    fields = schema_class().fields
    return ", ".join(field.words if isinstance(field, Member) else words_of(name) for name, field in fields.items())


def list_column_names(schema_class: type[ma.Schema]) -> list[str]:
    """Return the names of a schema's fields that have a column in lists."""
    return [member_name for member_name, field in _list_members(schema_class()) if field.is_listed]


def _list_members(schema: ma.Schema) -> list[tuple[str, Member]]:
    return [(field_name, field) for field_name, field in schema.fields.items() if isinstance(field, Member)]


def _make_field_options(field: Member, *, is_for_new_object: bool, is_required: bool) -> list[Decorator]:
    option_name, help_text = field.option, _describe_field(field, is_for_new_object=is_for_new_object)
    item_or_field = field.item if isinstance(field, Items) else field
    option_settings: dict[str, Any] = {
        "metavar": field.metavar,
        "required": is_required,
        "multiple": field.kind in LISTS,
    }
    if field.load_only:
        option_name += "-file"
        stdin_phrase = "by default from standard input" if is_required else "or from standard input if the file is -"
        help_text += f" The value is read from a file, {stdin_phrase}."
        option_settings = {"type": click.File(), "default": "-" if is_required else None, "callback": _read_first_line}
    elif field.kind == "document":
        option_settings |= {"type": click.File(), "callback": lambda _context, _option, file: file and file.read()}
    elif isinstance(field, Flag):
        option_name += "" if "/" in option_name else f"/--no-{option_name.removeprefix('--')}"
        option_settings = {"default": None}
    elif isinstance(field, Number):
        option_settings |= {
            "metavar": f"N|{NONE}" if field.allow_none else "N",
            "callback": _make_number_callback(field),
        }
    elif isinstance(item_or_field, Choice):
        option_settings["type"] = click.Choice(item_or_field.values)
    elif field.kind == "agent" or isinstance(item_or_field, AgentId):
        option_settings["metavar"] = "ID|NAME"
    elif field.kind == "instant":
        option_settings["metavar"] = "TIME"
    elif isinstance(field, Items):
        option_settings["metavar"] = field.metavar or field.word.upper()
    options: list[Decorator] = [click.option(option_name, field.typed_name, help=help_text, **option_settings)]
    if field.kind in LISTS and (field.default or not is_for_new_object):
        help_text = _join_sentences(field.nothing or NONE)
        options.append(flag_option(_name_emptying_option(field), _name_emptying_argument(field), help_text))
    return options


def _name_emptying_option(field: Member) -> str:
    """Return the name of the option that empties a list field, or sets it to ``null`` if the field is nullable."""
    return f"--{'every' if field.allow_none else 'no'}-{field.option.removeprefix('--')}"


def _name_emptying_argument(field: Member) -> str:
    return f"no_{field.typed_name}"


def _describe_field(field: Member, *, is_for_new_object: bool) -> str:
    sentences = [field.typed_as or field.description or f"the {field.words}"]
    if field.kind in LISTS:
        sentences.append("may be given several times")
    elif field.nothing:
        sentences.append(f"{NONE if isinstance(field, Number) else 'empty'}: {field.nothing}")
    default_value = field.default
    if is_for_new_object and default_value and not isinstance(default_value, bool):
        sentences.append(f"default: {', '.join(default_value) if isinstance(default_value, list) else default_value}")
    return _join_sentences(*sentences)


def _join_sentences(*texts: str) -> str:
    return " ".join(f"{text[:1].upper()}{text[1:]}." for text in texts)


def _read_first_line(_context: click.Context, _option: click.Parameter, file: TextIO | None) -> str | None:
    """Return the secret in the first line of a file. Other processes could read a secret in the command line."""
    return None if file is None else file.readline().strip()


def _make_number_callback(field: Number) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return a callback of click that accepts a number, and also :data:`NONE` if the field may be ``null``."""
    error_message = f"must be a whole number from {field.minimum} to {field.maximum}" + (
        f", or {NONE}" if field.allow_none else ""
    )

    def check(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
        if text is not None and not (field.allow_none and text == NONE):
            number = parse_number(text)
            if isinstance(number, str) or not field.minimum <= number <= field.maximum:
                raise click.BadParameter(error_message)
        return text

    return check


def flag_option(option: str, argument: str, help_text: str) -> Decorator:
    """Return an option without a value. If a user gives the option, the command's argument is True."""
    return click.option(option, argument, is_flag=True, help=help_text)


def name_option(option: str, help_text: str, *, is_required: bool = False) -> Decorator:
    """Return an option whose value is the ID or the name of an object."""
    return click.option(option, required=is_required, metavar="ID|NAME", help=help_text)


as_json_option = flag_option("--json", "as_json", "Print JSON.")
organization_argument = click.argument("organization", metavar="ID|NAME")
organization_option = name_option("--organization", "The organization's id (org-…), or its name.", is_required=True)
agent_option = name_option("--agent", "The agent's id (its client_id), or its name.", is_required=True)
