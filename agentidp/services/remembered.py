"""Rules of clients that a process remembers, so that it reads them once, and not for each token."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Rule = TypeVar("Rule")

MOST = 10_000_000
"""Characters of all rules together, which take about 30 MB."""

EACH = 1_000
"""Characters that a rule counts beside its own."""


class Remembered(Generic[Key, Rule]):
    """Lists of rules by a key. When all together become too long, they are forgotten. A rule is as long as its author
    likes, so a number of rules would not bound the memory.

    :param most: characters.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._length = most, 0
        self._rules: dict[Key, tuple[list[Rule], int]] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> list[Rule]:
        """The rules, none if they are not remembered."""
        rules, _ = self._rules.get(key, ([], 0))
        return rules

    def put(self, key: Key, rules: list[Rule], *, characters: int) -> None:
        """Remember rules in place of those that were.

        :param characters: of the rules, and of the key.
        """
        length = characters + EACH * len(rules)
        with self._lock:
            self._forget(key)
            if length > self._most:
                return
            if self._length + length > self._most:
                self._rules.clear()
                self._length = 0
            self._rules[key] = rules, length
            self._length += length

    def forget(self, key: Key) -> bool:
        """Whether there were rules, which there are no more."""
        with self._lock:
            return self._forget(key)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._rules.clear()
            self._length = 0

    def _forget(self, key: Key) -> bool:
        rules, length = self._rules.pop(key, ([], 0))
        self._length -= length
        return bool(rules)
