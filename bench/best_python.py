"""The best Python of this machine: the newest of the fast ones, which were built with profile-guided optimization."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys

from bench.servers import ROOT, ServerFailed

MINORS = range(11, 20)
"""Of Python 3: from the oldest that AgentIdP supports."""

SLACK = 1.3
"""A Python is fast if it takes at most this many times as long as the fastest."""


def best_python() -> str | None:
    """The path of the newest fast one, of those that are called python3.N."""
    # Debian's first: a version manager puts its own, often without optimization, before it.
    search = os.pathsep.join(["/usr/bin", os.environ.get("PATH", "")])
    found = (shutil.which(f"python3.{minor}", path=search) for minor in reversed(MINORS))
    times = {path: loop_time_of(path) for path in found if path}
    return next((path for path, seconds in times.items() if seconds <= SLACK * min(times.values()) < math.inf), None)


def loop_time_of(path: str) -> float:
    """What :mod:`bench.python_speed` measures under a Python. Infinite if it does not run, which happens with
    a version manager's name of one that is not installed.
    """
    command = [path, str(ROOT / "bench" / "python_speed.py")]
    measured = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(measured.stdout) if measured.returncode == 0 else math.inf


def run_again_under_it() -> None:
    """Replace this process by the same command under the best Python, in an environment of its own in ``.venv-bench``.

    :raises ServerFailed: there is none.
    """
    found = best_python()
    if found is None:
        raise ServerFailed("this machine has no program python3.N")
    made = ROOT / ".venv-bench"
    subprocess.run(["make", "--silent", f"PYTHON={found}", f"VENV={made}", f"{made}/.installed"], cwd=ROOT, check=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--best-python"]
    os.execv(made / "bin" / "python", [str(made / "bin" / "python"), "-m", "bench", *arguments])  # noqa: S606
