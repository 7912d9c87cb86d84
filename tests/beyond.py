"""``make test-beyond``: installs what is missing on Debian, then runs the tests that ``make test`` leaves out.

``python -m tests.beyond MARKERS PYTEST-OPTION…``. Containers need a base image, and Citus is in no package. If they are
not there, their tests are left out, and the last lines say so. In CI, which sets NOTHING_SKIPPED, the run then fails.

These tests depend on other processes, whose timing no test controls. So at most MAX_REPEATED failed tests are repeated
alone, RUNS times: a failure that does not come again is printed as flaky, and must be mended, but is no failure of the
change. Tests of COUNTS are never repeated, because a token that is lost in one of ten runs is a defect. ``make test``
repeats nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import citus
from tests.conftest import EXIT_CODE_IF_SKIPPED, NOTHING_SKIPPED
from tests.containers import podman
from tests.factories import ROOT

MAX_REPEATED = 3
"""Maximum number of failed tests that are repeated. More failures have a common reason."""

RUNS = 5
"""How often a failed test is repeated."""

COUNTS = ("tests/faults/", "tests/test_quotas.py", "tests/test_exactness.py", "tests/server/test_metrics_server.py")
"""Tests that compare counts after a fault or a load. Their failures always fail the run."""


def impossible() -> dict[str, str]:
    """The markers of the tests that cannot run on this machine, and why."""
    reasons = {"citus": citus.missing(), "containers": podman.missing()}
    return {marker: reason for marker, reason in reasons.items() if reason}


def run(arguments: list[str]) -> int:
    """Run pytest. Repeat a few failed tests, and return 0 if they passed each time, otherwise pytest's exit code."""
    command = [sys.executable, "-m", "pytest"]
    environment = os.environ | {NOTHING_SKIPPED: "1"}
    code = subprocess.run([*command, "--cache-clear", *arguments], env=environment, check=False).returncode
    failures = Path(".pytest_cache/v/cache/lastfailed")
    tests = list(json.loads(failures.read_text())) if code == pytest.ExitCode.TESTS_FAILED and failures.exists() else []
    if not 0 < len(tests) <= MAX_REPEATED or any(test.startswith(COUNTS) for test in tests):
        return code
    for _ in range(RUNS):
        if subprocess.run([*command, "--numprocesses", "0", *tests], env=environment, check=False).returncode:
            return code
    print(f"FLAKY, mend them (each failed once, and then passed {RUNS} times alone):", *tests, sep="\n  ")
    return 0


def run_possible(markers: str, options: list[str], left_out: dict[str, str]) -> int:
    """Run the tests with one of the markers. Print which markers are left out, and why.

    :returns: the code of :func:`run`, or ``EXIT_CODE_IF_SKIPPED`` if all tests must run and some were left out.
    """
    chosen = " and ".join([f"({markers})", *(f"not {marker}" for marker in left_out)])
    code = run([*options, "-m", chosen])
    for marker, reason in left_out.items():
        print(f"Left out: the tests with the marker {marker}. {reason}")
    if left_out and os.environ.get(NOTHING_SKIPPED):
        print("The run fails, because all tests must run.")
        return code or EXIT_CODE_IF_SKIPPED
    return code


def main() -> None:
    """Install the missing programs, and run the tests."""
    markers, *options = sys.argv[1:]
    installed = subprocess.run(["bash", ROOT / "tests" / "install.sh"], check=False)
    if installed.returncode:
        raise SystemExit("The programs that the tests need could not be installed, so no test was run.")
    raise SystemExit(run_possible(markers, options, impossible()))


if __name__ == "__main__":
    main()
