"""Reads the commands of the operating guide."""

from __future__ import annotations

import re
import textwrap

from tests.conftest import with_database
from tests.factories import ROOT, execute


def commands_of(document: str, heading: str) -> list[str]:
    """The blocks of commands below a heading, up to the next one."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    return [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```", section, re.M | re.S)]


DOCUMENTED = "postgresql://agentidp:$OWNER_PASSWORD@localhost/agentidp"
"""The database of the guide's commands."""


def make_database(server_url: str, name: str) -> str:
    """Make the database of the first step of *Install on Debian* and its owner, by the statements there but for the
    names, which the server of the tests has already; the database's URL as its owner.
    """
    [statements] = re.findall(r"<<END\n(.*?)END\n", commands_of("deployment.md", "## Install on Debian")[0], re.S)
    for statement in statements.replace("$OWNER_PASSWORD", "of-the-owner").strip().split(";\n"):
        execute(server_url, re.sub(r"\b(role|database|owner) agentidp\b", rf"\1 {name}", statement.removesuffix(";")))
    return f"postgresql://{name}:of-the-owner@{with_database(server_url, name).rpartition('@')[2]}"
