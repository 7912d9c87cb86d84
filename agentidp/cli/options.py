"""Options that several commands have, and those that set the members of a thing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, TextIO

import click
import marshmallow as ma

from agentidp.http.schemas import AgentId, ChangeSchema, Choice, Flag, Items, Member, Number

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def moment(text: str) -> datetime:
    """An option's instant: a day, which is taken for its beginning in UTC, or a date and time with a time zone."""
    with contextlib.suppress(ValueError, OverflowError):
        if len(text) == len("2026-04-15"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise click.BadParameter("must be a day (2026-04-15), or a date and time with a time zone (2026-04-15T12:00:00Z)")


class WholeNumber(click.IntRange):
    """A whole number within bounds. click's own refusal speaks of an "integer range"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        :raises click.BadParameter: it is none, or not within the bounds.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = f"of at least {self.min}" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"must be a whole number {bounds}, not {value!r}", param, ctx)


NONE = "none"
"""The value of an option that removes a number."""


def member_options(body: ma.Schema) -> Decorator:
    """Options for what a body may have. The command gets them by the names of the members, for :func:`given`.

    :param body: without the members that the command asks for in another way, or not at all.
    """
    is_new = not isinstance(body, ChangeSchema)
    options = [option for member, field in _members(body) for option in _options_of(member, field, is_new=is_new)]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(body: ma.Schema, options: dict[str, Any]) -> dict[str, Any]:
    """What the options of :func:`member_options` say, as the JSON of our API. What is left out is not in it.

    :raises click.UsageError: one option contradicts another, or nothing is to change.
    """
    members: dict[str, Any] = {}
    for member, field in _members(body):
        value = options.get(member)
        if isinstance(field, Items):
            is_emptied = options.get(_emptied(member))
            if is_emptied and value:
                raise click.UsageError(f"give {option_name(field)} or {_emptying_option(field)}, not both")
            if is_emptied or value:
                members[member] = list(value) if value else None if field.allow_none else []
        elif value is not None:
            members[member] = None if field.allow_none and value in ("", NONE) else value
    if isinstance(body, ChangeSchema) and not members:
        raise click.UsageError("name something to change")
    return members


def printed(returned: type[ma.Schema]) -> str:
    """What a command prints of a thing, for its help."""
    names = [field.words if isinstance(field, Member) else _words(name) for name, field in returned().fields.items()]
    return ", ".join(names)


def listed(returned: type[ma.Schema]) -> list[str]:
    """The members that say that a list shows them."""
    return [member for member, field in _members(returned()) if field.is_listed]


def _words(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f" {found[0].lower()}", name)


def _members(body: ma.Schema) -> list[tuple[str, Member]]:
    return [(name, field) for name, field in body.fields.items() if isinstance(field, Member)]


def _options_of(member: str, field: Member, *, is_new: bool) -> list[Decorator]:
    option, about, is_required = option_name(field), _help(field, is_new=is_new), is_new and field.required
    if field.load_only:
        place = "The file that has it" + (". Default: standard input." if is_required else "; - is standard input.")
        file = "-" if is_required else None
        help_ = f"{about} {place}"
        return [click.option(f"{option}-file", member, type=click.File(), default=file, callback=_line, help=help_)]
    if isinstance(field, Flag):
        names = option if "/" in option else f"{option}/--no-{option.removeprefix('--')}"
        return [click.option(names, member, default=None, help=about)]
    if isinstance(field, Number):
        shape = f"N|{NONE}" if field.allow_none else "N"
        checked = _number(field)
        return [click.option(option, member, metavar=shape, required=is_required, callback=checked, help=about)]
    if isinstance(field, Items):
        choice = click.Choice(field.item.values) if isinstance(field.item, Choice) else None
        metavar = None if choice else "ID|NAME" if isinstance(field.item, AgentId) else field.word.upper()
        items = click.option(option, member, multiple=True, type=choice, metavar=metavar, help=about)
        nothing = _sentences(field.nothing or NONE)
        emptying = click.option(_emptying_option(field), _emptied(member), is_flag=True, help=nothing)
        return [items, emptying] if not is_new or _default(field) else [items]
    choice = click.Choice(field.values) if isinstance(field, Choice) else None
    metavar = "ID|NAME" if isinstance(field, AgentId) else None
    return [click.option(option, member, type=choice, metavar=metavar, required=is_required, help=about)]


def option_name(field: Member) -> str:
    words = field.word if isinstance(field, Items) else field.words
    return field.option or f"--{words.replace(' ', '-')}"


def _emptying_option(field: Items) -> str:
    """What empties a list. If it may be ``null``, that stands for everything."""
    return f"--{'every' if field.allow_none else 'no'}-{option_name(field).removeprefix('--')}"


def _emptied(member: str) -> str:
    return f"no_{member}"


def _help(field: Member, *, is_new: bool) -> str:
    sentences = [field.description or f"the {field.words}"]
    if isinstance(field, Items):
        sentences.append("may be given several times")
    elif field.nothing:
        sentences.append(f"{NONE if isinstance(field, Number) else 'empty'}: {field.nothing}")
    default = _default(field)
    if is_new and default and not isinstance(default, bool):
        sentences.append(f"default: {', '.join(default) if isinstance(default, list) else default}")
    return _sentences(*sentences)


def _default(field: Member) -> Any:
    return field.load_default() if callable(field.load_default) else field.load_default


def _sentences(*texts: str) -> str:
    return " ".join(f"{text[:1].upper()}{text[1:]}." for text in texts)


def _line(_context: click.Context, _option: click.Parameter, file: TextIO | None) -> str | None:
    """The first line of a file: in an argument, a secret would be seen in the list of processes."""
    return None if file is None else file.readline().strip()


def _number(field: Number) -> Callable[[click.Context, click.Parameter, str | None], int | str | None]:
    """The callback of an option that is a number, or :data:`NONE` if the member may be ``null``."""
    rule = f"must be a whole number from {field.least} to {field.most}" + (f", or {NONE}" if field.allow_none else "")

    def parsed(_context: click.Context, _option: click.Parameter, text: str | None) -> int | str | None:
        if text is None or (field.allow_none and text == NONE):
            return text
        if not (text.isascii() and text.isdecimal() and len(text) < 16 and field.least <= int(text) <= field.most):
            raise click.BadParameter(rule)
        return int(text)

    return parsed


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
organization_argument = click.argument("organization", metavar="ID|NAME")
organization_option = click.option(
    "--organization", required=True, metavar="ID|NAME", help="The organization's id (org-…), or its name."
)
agent_option = click.option(
    "--agent", required=True, metavar="ID|NAME", help="The agent's id, its client_id, or its name."
)
bindir_option = click.option(
    "--bindir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Of pg_dump and pg_restore. Default: those of the embedded PostgreSQL, on PATH or of Debian's packages.",
)
