"""The rules of fields, which are the same in the API, in commands, in forms and in files."""

from __future__ import annotations

import re

import marshmallow as ma
import pytest

from agentidp.http.schemas import (
    ChangeSchema,
    Number,
    ReturnedSchema,
    Text,
    list_read_only_names,
    list_write_only_names,
)
from agentidp.http.text import text_refusal


def forbidden(code_point: str) -> str:
    """Return the rule that text with this first forbidden character breaks."""
    return (
        f"must not contain U+{code_point}: no control characters, no lone surrogates, and no characters that are "
        "invisible or change the direction of text"
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must have 1 to 5 characters"),
        ("x" * 6, "must have 1 to 5 characters"),
        (" x", "must not begin or end with white space"),
        ("x\u3000", "must not begin or end with white space"),
        ("a\tb", forbidden("0009")),
        ("a\nb", forbidden("000A")),
        ("a\x00", forbidden("0000")),
        ("a\x85b", forbidden("0085")),
        ("\udcff", forbidden("DCFF")),
        ("a\u202eb\u2066", forbidden("202E")),
        ("x\u2029", forbidden("2029")),
        ("a\U000e0041", forbidden("E0041")),
        (7, "must be a string"),
        ("Größe", None),
        ("a b", None),
    ],
)
def test_a_text(text: object, rule: str | None) -> None:
    try:
        assert (Text(1, 5).deserialize(text), rule) == (text, None)
    except ma.ValidationError as refused:
        assert refused.messages == [rule]


def test_a_text_of_several_lines() -> None:
    text = Text(0, 5, multiline=True)
    assert [text.deserialize(lines) for lines in ("", "a\n\tb")] == ["", "a\n\tb"]
    for lines, code_point in (("a\x0b", "000B"), ("a\n\u2067b", "2067")):
        with pytest.raises(ma.ValidationError, match=re.escape(forbidden(code_point))):
            text.deserialize(lines)


@pytest.mark.parametrize("multiline", [False, True])
def test_the_pattern_of_a_text_accepts_what_the_field_accepts(multiline: bool) -> None:
    text = Text(1, 5, multiline=multiline)
    pattern = re.compile(text.metadata["pattern"])
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x10000)]):
        is_accepted = text_refusal(character, is_multiline=multiline) is None
        assert (pattern.search(f"a{character}b") is not None) == is_accepted, hex(ord(character))


class Fields(ma.Schema):
    """A thing."""

    thingId = ma.fields.UUID(attribute="thing_id", dump_only=True)
    name = Text(1, 5, required=True)
    secret = Text(1, 5, load_only=True)
    copies = Number(1, 9, allow_none=True, load_default=3, description="How many", nothing="not known")


class Change(ChangeSchema, Fields):
    """The body of a PATCH."""

    class Meta(ChangeSchema.Meta):
        exclude = list_read_only_names(Fields)


class Returned(ReturnedSchema, Fields):
    """The object in responses."""

    class Meta:
        exclude = list_write_only_names(Fields)


def test_the_bodies_of_a_thing_follow_from_its_fields() -> None:
    assert list(Change().fields) == ["name", "secret", "copies"]
    assert Change().load({"secret": "x"}) == {"secret": "x"}
    returned = Returned().fields
    assert list(returned) == ["thingId", "name", "copies"]
    assert [(field.required, field.load_default) for field in returned.values()] == [(True, ma.missing)] * 3
    assert returned["copies"].metadata["description"] == "How many; null: not known"
