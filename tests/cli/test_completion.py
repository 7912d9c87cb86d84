"""Completion in the shell: the line that docs/commands.md gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import ROOT

GUIDE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
LINES = re.findall(r"^(.*_AGENTIDP_COMPLETE=.*?) +#", GUIDE, re.MULTILINE)


@pytest.mark.program
def test_bash_completes_commands_and_options() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    complete = '$(complete -p agentidp | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
    script = [LINES[0]]
    for words in ("organization ex", "apply --p"):
        script += [
            f"COMPREPLY=() COMP_WORDS=(agentidp {words}) COMP_CWORD=2",
            f'{complete} agentidp x; echo "${{COMPREPLY[@]}}"',
        ]
    shell = ["bash", "-euc", "\n".join(script)]
    completed = subprocess.run(shell, env={"PATH": path}, capture_output=True, text=True, check=True)
    assert completed.stdout.splitlines() == ["export", "--plan --prune"]


@pytest.mark.slow
def test_the_readme_has_a_line_for_each_shell() -> None:
    shells = ["bash", "zsh", "fish"]
    assert [re.findall("=([a-z]+)_source agentidp", line) for line in LINES] == [[shell] for shell in shells]
    for shell in shells:
        environment = {"_AGENTIDP_COMPLETE": f"{shell}_source", "PATH": os.environ["PATH"]}
        program = Path(sys.executable).parent / "agentidp"
        source = subprocess.run([program], env=environment, capture_output=True, text=True, check=True).stdout
        assert f"_AGENTIDP_COMPLETE={shell}_complete" in source
