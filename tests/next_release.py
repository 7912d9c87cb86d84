"""A release after this one: a copy of the package in which a test adds a migration or changes a function."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from agentidp.db.migrations import Step, read_steps
from agentidp.paths import shipped_directory
from tests.factories import ROOT, clean_environment

MIGRATION = "9000_next"
"""The name of the step that is added."""


class NextRelease:
    """The copy. Its commands and servers are those of processes in its directory, with :meth:`environment`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        package = directory / "agentidp"
        # Bytecode files stay valid, because copies of source files keep their times.
        shutil.copytree(ROOT / "agentidp", package)
        for shipped in ("sql", "deploy"):
            shutil.copytree(shipped_directory(shipped), package / shipped)
        self._sql = package / "sql"

    def add_migration(self, statements: str) -> None:
        """Add a migration with these statements, or replace it."""
        directory = self._sql / "migrations"
        directory.mkdir(exist_ok=True)
        (directory / f"{MIGRATION}.sql").write_text(statements, encoding="utf-8")

    def change_function(self, name: str, before: str, after: str) -> None:
        """Replace a piece of a function's text."""
        file = self._sql / "functions" / f"{name}.sql"
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after), encoding="utf-8")

    def steps(self) -> list[Step]:
        """Its steps, as they are now."""
        return read_steps(self._sql)

    def environment(self, url: str) -> dict[str, str]:
        """Of a process of this release on a database."""
        return {"PYTHONPATH": str(self.directory), "AGENTIDP_DATABASE_URL": url}

    def migrate(self, url: str) -> subprocess.Popen[str]:
        """Start its ``agentidp db migrate``."""
        return subprocess.Popen(
            [sys.executable, "-m", "agentidp", "db", "migrate"],
            cwd=self.directory,
            env=clean_environment() | self.environment(url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
