"""``make`` on a machine that lacks something says what to install and leaves nothing behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.factories import PATIENCE, ROOT


def make(target: Path, python: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Make *target* in the environment *directory*/venv with an interpreter that is the shell script *python*."""
    interpreter = directory / "python3"
    interpreter.write_text(f"#!/bin/sh\n{python}\n")
    interpreter.chmod(0o755)
    return subprocess.run(
        ["make", "-C", str(ROOT), f"PYTHON={interpreter}", f"VENV={directory / 'venv'}", str(target)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_says_what_to_install_where_python_has_no_venv(tmp_path: Path) -> None:
    # Debian's python3 without python3-venv: the module venv is there, ensurepip is not.
    done = make(tmp_path / "venv/bin/python", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0', tmp_path)
    assert done.returncode != 0
    assert "On Debian: apt-get install python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_says_what_it_does_before_it_is_busy(tmp_path: Path) -> None:
    done = make(tmp_path / "venv/bin/python", "exit 0", tmp_path)
    assert (done.returncode, done.stderr) == (0, f"Making a virtual environment in {tmp_path / 'venv'}\n")


def test_leaves_no_half_made_environment(tmp_path: Path) -> None:
    half = f'case "$2" in venv) mkdir -p "{tmp_path}/venv/bin"; exit 1;; esac; exit 0'
    done = make(tmp_path / "venv/bin/python", half, tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "venv").exists()


@pytest.mark.program
def test_on_another_system_the_programs_that_are_missing_are_named(tmp_path: Path) -> None:
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    done = subprocess.run(
        [tmp_path / "bash", ROOT / "tests" / "install.sh"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("This is no Debian. Install what these packages of Debian have: ")
    assert {"curl", "jq", "chromium-headless-shell", "wrk", "nodejs", "npm"} <= set(done.stderr.split())
