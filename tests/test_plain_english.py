"""Texts that people read have none of the project's early phrases. This is a word list, not a style checker."""

from __future__ import annotations

import re

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
    "*.yaml",
    "Dockerfile",
)
ALLOWED = "sql/migrations/"
"""They never change."""


def test_no_text_has_a_phrase_of_the_early_dialect() -> None:
    found = []
    for file in sorted(file for pattern in TEXTS for file in ROOT.glob(pattern)):
        if (name := str(file.relative_to(ROOT))).startswith(ALLOWED) or "__pycache__" in name:
            continue
        text = re.sub(r"\s*\n\s*(#|--)?\s*", " ", file.read_text(encoding="utf-8"))
        found += [f"{name}: {text[max(0, m.start() - 40) : m.end() + 40]!r}" for m in DIALECT.finditer(text)]
    assert not found, "write in plain English:\n" + "\n".join(found)
