"""``make test-beyond``: installs what is missing on Debian, then runs the tests that ``make test`` leaves out.

``python -m tests.beyond MARKERS PYTEST-OPTION…``. Containers need a base image, and Citus is in no package. If they are
not there, their tests are left out, and the last lines say so.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests import citus
from tests.conftest import NOTHING_SKIPPED
from tests.containers import podman
from tests.factories import ROOT


def impossible() -> dict[str, str]:
    """The markers of the tests that cannot run on this machine, and why."""
    reasons = {"citus": citus.missing(), "containers": podman.missing()}
    return {marker: reason for marker, reason in reasons.items() if reason}


def main() -> None:
    """Install, run, and say what was left out."""
    markers, *options = sys.argv[1:]
    installed = subprocess.run(["bash", ROOT / "tests" / "install.sh"], check=False)
    if installed.returncode:
        raise SystemExit("The programs that the tests need could not be installed, so no test was run.")
    left_out = impossible()
    chosen = " and ".join([f"({markers})", *(f"not {marker}" for marker in left_out)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-m", chosen], env=os.environ | {NOTHING_SKIPPED: "1"}, check=False
    )
    for marker, reason in left_out.items():
        print(f"Left out: the tests with the marker {marker}. {reason}")
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
