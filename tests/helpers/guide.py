"""Reads the commands of the operating guide."""

from __future__ import annotations

import re
import textwrap

from tests.conftest import with_database
from tests.factories import ROOT, execute


def commands_of(document: str, heading: str) -> list[str]:
    """Return the blocks of commands from a heading to the next heading."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", section, re.M | re.S)]


DOCUMENTED = "postgresql://agentidp:$OWNER_PASSWORD@localhost/agentidp"
"""The URL of the database in the guide's commands."""


def make_database(server_url: str, name: str) -> str:
    """Create the database and its owner as the first step of *Install on Debian* does, and return the database's URL
    for the owner. The names differ, because the server of the tests has the names of the guide already.
    """
    [statements] = re.findall(r"<<END\n(.*?)END\n", commands_of("deployment.md", "## Install on Debian")[0], re.S)
    for statement in statements.replace("$OWNER_PASSWORD", "of-the-owner").strip().split(";\n"):
        execute(server_url, re.sub(r"\b(role|database|owner) agentidp\b", rf"\1 {name}", statement.removesuffix(";")))
    return f"postgresql://{name}:of-the-owner@{with_database(server_url, name).rpartition('@')[2]}"
