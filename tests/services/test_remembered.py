"""Rules that a process remembers: as many as fit."""

from __future__ import annotations

from agentidp.services.remembered import EACH, Remembered


def test_forgets_all_when_they_are_too_long_together() -> None:
    """Their number says nothing: one organization could make them so long that the process ends."""
    most = 10 * EACH
    remembered: Remembered[str, str] = Remembered(most)
    for n in range(10):
        # Each of these takes the place of the one before.
        remembered.put("again", ["x"], characters=most - EACH - n)
    remembered.put("again", ["a", "b"], characters=EACH)
    remembered.put("other", ["c"], characters=most - 4 * EACH)
    assert (remembered.get("again"), remembered.get("other")) == (["a", "b"], ["c"])
    remembered.put("third", ["d"], characters=0)
    assert [remembered.get(key) for key in ("again", "other", "third")] == [[], [], ["d"]]
    remembered.put("too long", ["e"], characters=most)
    assert [remembered.get(key) for key in ("third", "too long")] == [["d"], []]


def test_what_is_forgotten_makes_room() -> None:
    remembered: Remembered[str, str] = Remembered(2 * EACH)
    for key in ("first", "second"):
        remembered.put(key, ["x"], characters=0)
    assert (remembered.forget("first"), remembered.forget("first"), remembered.get("first")) == (True, False, [])
    remembered.put("third", ["x"], characters=0)
    assert remembered.get("second") == ["x"]
    remembered.clear()
    remembered.put("fourth", ["x"], characters=EACH)
    assert (remembered.get("third"), remembered.get("fourth")) == ([], ["x"])
