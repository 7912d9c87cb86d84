"""The rules of the fields of bodies, which the API, commands, forms and files have in common."""

from __future__ import annotations

import marshmallow as ma
import pytest

from agentidp.http.schemas import ChangeSchema, Number, ReturnedSchema, Text, read_only, write_only

CONTROL = "must not hold control characters or lone surrogates"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must have 1 to 5 characters"),
        ("x" * 6, "must have 1 to 5 characters"),
        (" x", "must not begin or end with white space"),
        ("x\u3000", "must not begin or end with white space"),
        ("a\tb", CONTROL),
        ("a\nb", CONTROL),
        ("a\x00", CONTROL),
        ("a\x85b", CONTROL),
        ("\udcff", CONTROL),
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
    assert [text.deserialize(one) for one in ("", "a\n\tb")] == ["", "a\n\tb"]
    with pytest.raises(ma.ValidationError, match=CONTROL):
        text.deserialize("a\x0b")


class Fields(ma.Schema):
    """A thing."""

    thingId = ma.fields.UUID(attribute="thing_id", dump_only=True)
    name = Text(1, 5, required=True)
    secret = Text(1, 5, load_only=True)
    copies = Number(1, 9, allow_none=True, load_default=3, description="How many", nothing="not known")


class Change(ChangeSchema, Fields):
    """The body that changes one."""

    class Meta(ChangeSchema.Meta):
        exclude = read_only(Fields)


class Returned(ReturnedSchema, Fields):
    """What is returned of one."""

    class Meta:
        exclude = write_only(Fields)


def test_the_bodies_of_a_thing_follow_from_its_fields() -> None:
    assert list(Change().fields) == ["name", "secret", "copies"]
    assert Change().load({"secret": "x"}) == {"secret": "x"}
    returned = Returned().fields
    assert list(returned) == ["thingId", "name", "copies"]
    assert [(field.required, field.load_default) for field in returned.values()] == [(True, ma.missing)] * 3
    assert returned["copies"].metadata["description"] == "How many; null: not known"
