"""``agentidp --version`` in a checkout and in an installed package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.factories import clean_environment
from tests.next_release import NextRelease

RELEASE = f"agentidp {version('agentidp')}"


def describe_fields(directory: Path, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "agentidp", "--version"],
        cwd=directory,
        env=clean_environment("GIT_") | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    return run.stdout


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
    run = subprocess.run(command, cwd=directory, env=clean_environment("GIT_"), check=True, capture_output=True)
    return run.stdout.decode().strip()


def test_the_commit_is_printed_of_a_checkout_only_and_only_if_there_is_git(tmp_path: Path) -> None:
    NextRelease(tmp_path)
    assert describe_fields(tmp_path) == f"{RELEASE}\n"
    git(tmp_path, "init", "--quiet")
    # The repository has no commit yet.
    assert describe_fields(tmp_path) == f"{RELEASE}\n"
    git(tmp_path, "add", "agentidp/paths.py")
    git(tmp_path, "commit", "--quiet", "--message", "x")
    # The output has the commit and no tag, and ignores other repositories.
    git(tmp_path, "tag", "--annotate", "--message", "x", "v9")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert describe_fields(tmp_path, GIT_DIR="/nonexistent") == f"{RELEASE} (commit {commit})\n"
    with (tmp_path / "agentidp" / "paths.py").open("a", encoding="utf-8") as file:
        file.write("# x\n")
    assert describe_fields(tmp_path) == f"{RELEASE} (commit {commit}+)\n"
    assert describe_fields(tmp_path, PATH="/nonexistent") == f"{RELEASE}\n"
    # A package that is installed inside another checkout.
    NextRelease(tmp_path / "lib")
    assert describe_fields(tmp_path / "lib") == f"{RELEASE}\n"
