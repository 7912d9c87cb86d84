"""Processes that end with the one that started them."""

from __future__ import annotations

import signal
import subprocess
import sys

from agentidp.parent_death import signal_at_parent_death


def start_child(module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a module of this Python.

    It gets a session of its own: Ctrl-C reaches the launcher alone, which stops the parts in their order.

    :param module: its name, and its arguments.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", *module],
        env=environment,
        start_new_session=True,
        preexec_fn=signal_at_parent_death(signal.SIGTERM),
    )


def stop_child(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Stop a process, if it still runs.

    :param timeout: seconds that it has to end by itself before it is killed.
    """
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
