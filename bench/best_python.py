"""The best Python of this machine: the newest that was built with profile-guided optimization."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.servers import ROOT, ServerFailed

MINORS = range(11, 20)
"""Of Python 3: from the oldest that AgentIdP supports."""

_QUESTION = "import sysconfig; print('--enable-optimizations' in (sysconfig.get_config_var('CONFIG_ARGS') or ''))"


def best_python() -> str | None:
    """The path of the newest optimized one, of those that are called python3.N."""
    # Debian's first: a version manager puts its own, often without optimization, before it.
    search = os.pathsep.join(["/usr/bin", os.environ.get("PATH", "")])
    found = (shutil.which(f"python3.{minor}", path=search) for minor in reversed(MINORS))
    return next((path for path in found if path and is_optimized(path)), None)


def is_optimized(path: str) -> bool:
    """Whether a Python was built with profile-guided optimization."""
    return subprocess.run([path, "-c", _QUESTION], capture_output=True, text=True, check=False).stdout == "True\n"


def run_again_under_it() -> None:
    """Replace this process by the same command under the best Python, in an environment of its own in ``.venv-bench``.

    :raises ServerFailed: there is no optimized Python.
    """
    found = best_python()
    if found is None:
        raise ServerFailed("no Python of this machine was built with optimization")
    made = ROOT / ".venv-bench"
    subprocess.run(["make", "--silent", f"PYTHON={found}", f"VENV={made}", f"{made}/.installed"], cwd=ROOT, check=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--best-python"]
    os.execv(made / "bin" / "python", [str(made / "bin" / "python"), "-m", "bench", *arguments])  # noqa: S606
