"""Child processes that end when their parent process ends."""

from __future__ import annotations

import signal
import subprocess
import sys

from agentidp.parent_death import signal_at_parent_death


def start_child(module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a module of this Python.

    The child gets its own session, so Ctrl-C reaches only the launcher, which then stops its children in order.

    :param module: the module's name, followed by its arguments.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *module],
        env=environment,
        start_new_session=True,
        preexec_fn=signal_at_parent_death(signal.SIGTERM),
    )


def stop_child(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Stop a process if it is still running. *timeout*: seconds between SIGTERM and SIGKILL."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
