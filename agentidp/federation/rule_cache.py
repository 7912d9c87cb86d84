"""Cache rules in the process, so that they are not read from the database for each token."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_CHARACTERS = 10_000_000
"""Maximum number of characters of all cached lists together, which take about 30 MB of memory."""

CHARACTERS_PER_RULE = 1_000
"""Characters that are added per cached value, because a parsed rule takes more memory than its text."""


class RuleCache(Generic[Key, Value]):
    """A cache of lists per organization and key, limited in characters.

    If the cache is full, the organization with the most characters loses all its lists.
    """

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._lists: dict[str, dict[Key, tuple[list[Value], int]]] = {}
        self._characters: dict[str, int] = {}
        self._lock = threading.RLock()

    def get(self, organization_id: str, key: Key) -> list[Value]:
        """Return the cached list for a key, or an empty list."""
        cached_values, _ = self._lists.get(organization_id, {}).get(key, ([], 0))
        return cached_values

    def put(self, organization_id: str, key: Key, values: list[Value], *, characters: int) -> None:
        """Cache the list for a key, unless the list alone has more characters than the cache may have."""
        characters += CHARACTERS_PER_RULE * len(values)
        with self._lock:
            self.forget(organization_id, key)
            if characters > self._max_characters:
                return
            while sum(self._characters.values()) + characters > self._max_characters:
                evicted_organization_id = max(self._characters, key=self._characters.__getitem__)
                del self._lists[evicted_organization_id], self._characters[evicted_organization_id]
            self._lists.setdefault(organization_id, {})[key] = values, characters
            self._characters[organization_id] = self._characters.get(organization_id, 0) + characters

    def forget(self, organization_id: str, key: Key) -> bool:
        """Remove the list for a key from the cache, and return whether this list contained values."""
        with self._lock:
            forgotten_values, forgotten_characters = self._lists.get(organization_id, {}).pop(key, ([], 0))
            if forgotten_characters:
                self._characters[organization_id] -= forgotten_characters
            return bool(forgotten_values)
