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
"""The name of the migration that :meth:`NextRelease.add_migration` adds."""


class NextRelease:
    """A copy of the package. Processes run it in its directory, with the variables of :meth:`environment`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        package = directory / "agentidp"
        # Bytecode files stay valid, because copies of source files keep their times.
        shutil.copytree(ROOT / "agentidp", package)
        for shipped in ("sql", "deploy"):
            shutil.copytree(shipped_directory(shipped), package / shipped)
        self._sql = package / "sql"

    def add_migration(self, statements: str) -> None:
        """Add or replace the migration with these statements."""
        directory = self._sql / "migrations"
        directory.mkdir(exist_ok=True)
        (directory / f"{MIGRATION}.sql").write_text(statements, encoding="utf-8")

    def change_function(self, name: str, old_text: str, new_text: str) -> None:
        """Replace a part of a function's text."""
        file = self._sql / "functions" / f"{name}.sql"
        text = file.read_text(encoding="utf-8")
        assert old_text in text
        file.write_text(text.replace(old_text, new_text), encoding="utf-8")

    def steps(self) -> list[Step]:
        """Return the present steps of the release."""
        return read_steps(self._sql)

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment variables of a process of this release on a database."""
        return {"PYTHONPATH": str(self.directory), "AGENTIDP_DATABASE_URL": url}

    def migrate(self, url: str) -> subprocess.Popen[str]:
        """Start ``agentidp db migrate`` of this release."""
        return subprocess.Popen(
            [sys.executable, "-m", "agentidp", "db", "migrate"],
            cwd=self.directory,
            env=clean_environment() | self.environment(url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
