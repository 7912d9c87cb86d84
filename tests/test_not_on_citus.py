"""The tests that cannot apply on Citus are those that docs/decisions/citus.md lists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import citus
from tests.factories import ROOT

PAGE = (ROOT / "docs" / "decisions" / "citus.md").read_text(encoding="utf-8")
MARKS = {name for name, value in vars(citus).items() if isinstance(value, pytest.MarkDecorator)}
LISTED = re.compile(r"^- `([A-Z_]+)`: (.+(?:\n  .+)*)", re.MULTILINE)
"""``- `A_MARK`: `oauth/test_timing` 1, `test_demo` 2``, on one line or several."""


def marked(file: Path) -> Iterator[tuple[str, str]]:
    """Each use of a mark in a file, with the file's name as the page has it."""
    name = str(file.relative_to(ROOT / "tests").with_suffix(""))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and node.id in MARKS:
            yield node.id, name


def test_the_page_lists_each_mark_and_where_it_is_used() -> None:
    used: dict[str, Counter[str]] = {mark: Counter() for mark in MARKS}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for mark, name in marked(file):
            used[mark][name] += 1
    listed = {
        mark: {name: int(count) for name, count in re.findall(r"`(\S+)`\s+(\d+)", text)}
        for mark, text in LISTED.findall(PAGE)
    }
    assert listed == used
    assert all(used.values())


def test_each_mark_is_explained() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", PAGE, re.MULTILINE))
    assert table.keys() == MARKS
