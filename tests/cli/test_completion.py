"""Shell completion with the line from docs/commands.md."""

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
