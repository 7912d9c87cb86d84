"""A process remembers rules up to a maximum of characters."""

from __future__ import annotations

from agentidp.federation.rule_cache import CHARACTERS_PER_RULE, RuleCache

A, B = "org-a", "org-b"


def test_the_organization_with_the_longest_rules_loses_them() -> None:
    """A maximum number of rules would not suffice: long rules could take all memory of the process."""
    most = 10 * CHARACTERS_PER_RULE
    cache: RuleCache[str, str] = RuleCache(most)
    for n in range(10):
        # Each list replaces the previous one.
        cache.put(A, "again", ["x"], characters=most - CHARACTERS_PER_RULE - n)
    cache.put(A, "again", ["a", "b"], characters=CHARACTERS_PER_RULE)
    cache.put(B, "other", ["c"], characters=most - 4 * CHARACTERS_PER_RULE)
    assert (cache.get(A, "again"), cache.get(B, "other"), cache.get(B, "again")) == (["a", "b"], ["c"], [])
    cache.put(B, "more", ["d"], characters=0)
    assert (cache.get(A, "again"), cache.get(B, "other"), cache.get(B, "more")) == (["a", "b"], [], ["d"])
    cache.put(A, "too long", ["e"], characters=most)
    assert [cache.get(A, key) for key in ("again", "too long")] == [["a", "b"], []]


def test_what_is_forgotten_makes_room() -> None:
    cache: RuleCache[str, str] = RuleCache(2 * CHARACTERS_PER_RULE)
    for key in ("first", "second"):
        cache.put(A, key, ["x"], characters=0)
    assert [cache.forget(A, "first") for _ in range(2)] == [True, False]
    assert cache.get(A, "first") == []
    cache.put(B, "third", ["x"], characters=0)
    assert cache.get(A, "second") == ["x"]
