"""``agentidp --version``: the release, and the commit if this is a git checkout."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

import click

from agentidp.paths import PACKAGE


def print_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    """Print the version and exit, if the option ``--version`` is given."""
    if is_asked:
        commit = read_commit(PACKAGE.parent)
        click.echo(f"agentidp {version('agentidp')}{f' (commit {commit})' if commit else ''}")
        context.exit()


def read_commit(directory: Path) -> str | None:
    """Return the short hash of a checkout's commit, with ``+`` if files were changed since; None without a checkout."""
    if not (directory / ".git").exists():
        return None
    # Inside a git hook, variables such as GIT_DIR would make git describe another repository.
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("GIT_")}
    git_command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        completed_process = subprocess.run(
            git_command, cwd=directory, env=environment, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return completed_process.stdout.strip() or None
