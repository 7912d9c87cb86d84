"""Completion in the shell: the line that the README gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import ROOT

LINES = re.findall(r"^(.*_AGENTIDP_COMPLETE=.*?) +#", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.program
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["organization", "ex"], ["export"]),
        (["apply", "--p"], ["--plan", "--prune"]),
    ],
)
def test_bash_completes_commands_and_options(typed: list[str], offered: list[str]) -> None:
    words = " ".join(["agentidp", *typed])
    script = f"""
        {LINES[0]}
        COMP_WORDS=({words}) COMP_CWORD={len(typed)}
        $(complete -p agentidp | sed "s/.*-F \\([^ ]*\\).*/\\1/") agentidp {typed[-1]}
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    completed = subprocess.run(["bash", "-euc", script], env={"PATH": path}, capture_output=True, text=True, check=True)
    assert completed.stdout.split() == offered


@pytest.mark.slow
def test_the_readme_has_a_line_for_each_shell() -> None:
    shells = ["bash", "zsh", "fish"]
    assert [re.findall("=([a-z]+)_source agentidp", line) for line in LINES] == [[shell] for shell in shells]
    for shell in shells:
        source = subprocess.run(
            [Path(sys.executable).parent / "agentidp"],
            env={"_AGENTIDP_COMPLETE": f"{shell}_source", "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"_AGENTIDP_COMPLETE={shell}_complete" in source
