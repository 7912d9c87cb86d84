"""Texts that people read have none of the project's early phrases, and short lines. This is no style checker."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.factories import ROOT

PHRASES = (
    r"anew|at the most|dear(er|est)|full(er|est)|us(e|es|ed) up|good (only )?once",
    r"(is|are|was|were|be|been) told|usual (is|are|would be)|press(es)? most|what came of it|what it rests on",
    r"every way in (?!which)|answer(s|ed)? (with )?(a )?[1-5]\d\d|go(es)? on with|would do",
    r"where (it|one|this|that) is (set|given|left out|asked for|missing)|where (none|there) (is|are|was|were)",
)
DIALECT = re.compile(rf"\b({'|'.join(PHRASES)})\b", re.IGNORECASE)
TEXTS = (
    "*.md",
    "docs/**/*.md",
    "agentidp/**/*.py",
    "bench/**/*.py",
    "agentidp/**/*.html",
    "agentidp/**/*.js",
    "sql/**/*.sql",
    "deploy/**/*.*",
    "tests/**/*.py",
    "*.yaml",
    "Dockerfile",
    "Makefile",
)
ALLOWED = ("sql/migrations/", "tests/test_plain_english.py")
"""Migrations never change, and this file has the phrases."""

WIDTH = 132
"""Characters of a line of prose at most."""

NO_PROSE = re.compile(r"\s*(\||#|<|\[!\[|\S+$)")
"""Rows of tables, headings, HTML, badges, and a word that cannot be wrapped, such as a long address."""


def test_no_text_has_a_phrase_of_the_early_dialect() -> None:
    found = []
    for file in sorted(file for pattern in TEXTS for file in ROOT.glob(pattern)):
        if (name := str(file.relative_to(ROOT))).startswith(ALLOWED) or "__pycache__" in name:
            continue
        text = re.sub(r"\s*\n\s*(#|--)?\s*", " ", file.read_text(encoding="utf-8"))
        text = re.sub(r"\bdef test_\w+", lambda name: name[0].replace("_", " "), text)
        found += [f"{name}: {text[max(0, m.start() - 40) : m.end() + 40]!r}" for m in DIALECT.finditer(text)]
    assert not found, "write in plain English:\n" + "\n".join(found)


def long_lines(text: str, is_markdown: bool) -> Iterator[int]:
    """The numbers of the lines of prose that are too long: of Markdown, or the comments of code."""
    is_code = not is_markdown
    for number, line in enumerate(text.splitlines(), 1):
        if is_markdown and line.lstrip().startswith("```"):
            is_code = not is_code
        is_prose = re.match(r"\s*(--|#|//|\*) ", line) if not is_markdown else not is_code and not NO_PROSE.match(line)
        if is_prose and len(line) > WIDTH:
            yield number


def test_lines_of_prose_are_short() -> None:
    found = []
    for file in sorted(file for pattern in TEXTS for file in ROOT.glob(pattern)):
        if (name := str(file.relative_to(ROOT))).startswith(ALLOWED) or "__pycache__" in name:
            continue
        found += [f"{name}:{n}" for n in long_lines(file.read_text(encoding="utf-8"), file.suffix == ".md")]
    assert not found, f"wrap these lines at {WIDTH} characters: {', '.join(found)}"
