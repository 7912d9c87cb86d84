"""A process remembers rules up to a maximum of characters."""

from __future__ import annotations

from agentidp.federation.remembered import CHARACTERS_PER_RULE, Remembered

A, B = "org-a", "org-b"


def test_the_organization_with_the_longest_rules_loses_them() -> None:
    """A maximum number of rules would not suffice: long rules could take all memory of the process."""
    most = 10 * CHARACTERS_PER_RULE
    remembered: Remembered[str, str] = Remembered(most)
    for n in range(10):
        # Each list replaces the previous one.
        remembered.put(A, "again", ["x"], characters=most - CHARACTERS_PER_RULE - n)
    remembered.put(A, "again", ["a", "b"], characters=CHARACTERS_PER_RULE)
    remembered.put(B, "other", ["c"], characters=most - 4 * CHARACTERS_PER_RULE)
    assert (remembered.get(A, "again"), remembered.get(B, "other"), remembered.get(B, "again")) == (
        ["a", "b"],
        ["c"],
        [],
    )
    remembered.put(B, "more", ["d"], characters=0)
    assert (remembered.get(A, "again"), remembered.get(B, "other"), remembered.get(B, "more")) == (
        ["a", "b"],
        [],
        ["d"],
    )
    remembered.put(A, "too long", ["e"], characters=most)
    assert [remembered.get(A, key) for key in ("again", "too long")] == [["a", "b"], []]


def test_what_is_forgotten_makes_room() -> None:
    remembered: Remembered[str, str] = Remembered(2 * CHARACTERS_PER_RULE)
    for key in ("first", "second"):
        remembered.put(A, key, ["x"], characters=0)
    assert [remembered.forget(A, "first") for _ in range(2)] == [True, False]
    assert remembered.get(A, "first") == []
    remembered.put(B, "third", ["x"], characters=0)
    assert remembered.get(A, "second") == ["x"]
