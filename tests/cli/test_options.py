"""The options that set the members of an object, with one member of each type."""

from __future__ import annotations

from typing import Any

import click
import marshmallow as ma
import pytest
from click.testing import CliRunner

from agentidp.cli.options import add_member_options, describe_fields, read_options
from agentidp.http.schemas import ChangeSchema, Choice, Flag, Group, Instant, Items, Number, Text


class Inner(ma.Schema):
    """An object inside another object."""

    name = Text(1, 9, typed_name="innerName", option="--inner-name")


class New(ma.Schema):
    """An object with a member of each type."""

    name = Text(1, 9, required=True)
    wouldBe = Text(0, 9, attribute="would_be", allow_none=True, description="Another name", nothing="its name")
    secret = Text(1, 9, required=True, load_only=True)
    copies = Number(0, 9, allow_none=True, load_default=None, nothing="not known")
    most = Number(1, 9, load_default=7)
    colour = Choice(["red", "blue"], load_default="red")
    isBound = Flag(attribute="is_bound", load_default=False, option="--bound", description="A boolean")
    things = Items(Choice(["a", "b"]), allow_none=True, load_default=None, nothing="every thing")
    scopes = Items(Text(1, 9), load_default=lambda: ["x"])
    endsAt = Instant(attribute="ends_at", allow_none=True, load_default=None, nothing="never")
    inner = Group(Inner)


class Change(ChangeSchema, New):
    """The change of an object of :class:`New`."""


def run(body: type[ma.Schema], *arguments: str) -> Any:
    """Return the result of :func:`read_options` for arguments, or the output of the command if it fails."""
    bodies: list[Any] = []

    @click.command()
    @add_member_options(body())
    def command(**options: Any) -> None:
        bodies.append(read_options(body(), options))

    result = CliRunner().invoke(command, arguments, input=" s3cret \nmore")
    return bodies[0] if result.exit_code == 0 and bodies else " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--name x", {"name": "x"}),
        ("--would-be x", {"wouldBe": "x"}),
        ("--would-be=", {"wouldBe": None}),
        ("--secret-file -", {"secret": "s3cret"}),
        ("--copies 0", {"copies": 0}),
        ("--copies none", {"copies": None}),
        ("--colour blue", {"colour": "blue"}),
        ("--bound", {"isBound": True}),
        ("--no-bound", {"isBound": False}),
        ("--thing b --thing a", {"things": ["b", "a"]}),
        ("--every-thing", {"things": None}),
        ("--scope x", {"scopes": ["x"]}),
        ("--no-scope", {"scopes": []}),
        ("--ends-at 2026-05-01", {"endsAt": "2026-05-01T00:00:00.000000Z"}),
        ("--ends-at 2026-05-01T02:00:00+02:00", {"endsAt": "2026-05-01T00:00:00.000000Z"}),
        ("--ends-at none", {"endsAt": None}),
        ("--inner-name x", {"inner": {"name": "x"}}),
        ("", "give at least one option with a new value"),
        ("--thing a --every-thing", "give --thing or --every-thing, not both"),
        ("--copies 10", "must be a whole number from 0 to 9, or none"),
        ("--copies 1_0", "must be a whole number from 0 to 9, or none"),
        ("--most none", "must be a whole number from 1 to 9"),
        ("--most 0", "must be a whole number from 1 to 9"),
        ("--ends-at 2026-05-01T00:00:00", "or a date and time with a time zone (2026-04-15T12:00:00Z)"),
        ("--ends-at tomorrow", "or a date and time with a time zone (2026-04-15T12:00:00Z)"),
        ("--thing c", "'c' is not one of 'a', 'b'"),
    ],
)
def test_a_change_has_what_its_options_say(options: str, expected: object) -> None:
    changed = run(Change, *options.split())
    assert changed == expected or str(changed).rstrip(".").endswith(str(expected))


def test_a_new_thing_needs_what_is_required_and_reads_a_secret_from_standard_input() -> None:
    assert run(New, "--name", "x") == {"name": "x", "secret": "s3cret", "inner": {}}
    assert run(New).endswith("Missing option '--name'.")


def test_help_says_what_each_option_stands_for() -> None:
    shown = run(New, "--help")
    for line in (
        "--would-be TEXT Another name. Empty: its name.",
        "--secret-file FILENAME The secret. The value is read from a file, by default from standard input.",
        "--copies N|none The copies. None: not known.",
        "--most N The most. Default: 7.",
        "--bound / --no-bound A boolean. --thing [a|b] The things. May be given several times. --scope SCOPE",
        "--scope SCOPE The scopes. May be given several times. Default: x. --no-scope None.",
        "--ends-at TIME The ends at. Empty: never. --inner-name TEXT The name.",
    ):
        assert line in shown
    assert (
        describe_fields(New) == "name, would be, secret, copies, most, colour, is bound, things, scopes, ends at, inner"
    )
