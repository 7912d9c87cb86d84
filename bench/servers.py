"""Runs servers as processes and reads their processor time from /proc."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agentidp.parent_death import signal_at_parent_death

ROOT = Path(__file__).resolve().parent.parent
SECRET_KEY = secrets.token_urlsafe(48)
START_TIMEOUT = 120
"""Maximum seconds until a server answers."""

STOP_TIMEOUT = 40
"""Maximum seconds until a server ends after SIGTERM, longer than the launcher gives gunicorn."""


class ServerFailed(Exception):
    """A server did not start."""


def free_ports(number: int) -> list[int]:
    """Return different TCP ports of the loopback that are not in use now and that the kernel gives to no client."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < number:
            # From 32768 on, a client could take the port before the server does.
            port, probe = secrets.choice(range(10_000, 32_768)), stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def service_settings(url: str) -> dict[str, str]:
    """Return the settings of a service on the database at *url* that is to be measured."""
    return {
        "AGENTIDP_DATABASE_URL": url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        # Its evaluations would be charged to the requests of the first case.
        "AGENTIDP_WATCH": "off",
        # One agent requests more tokens than the default rate allows.
        "AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE": "0",
    }


@contextlib.contextmanager
def server(arguments: list[str], *, port: int, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a server until the block ends.

    :param arguments: arguments of ``python -m``, or a command that begins with ``node``.
    :param environment: the settings. Settings of AgentIdP in this process's environment do not apply.
    :param log: the file for the server's output.
    :returns: the process id.
    :raises ServerFailed: the server ends or does not answer.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTIDP_", "WEB_", "GUNICORN_"))}
    with (
        log.open("wb") as output,
        # In its own session, because Ctrl-C must reach this process alone, which stops the servers in order.
        subprocess.Popen(
            arguments if arguments[0] == "node" else [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=inherited | {"PORT": str(port), "PYTHONPATH": str(ROOT)} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=signal_at_parent_death(signal.SIGTERM),
        ) as process,
    ):
        try:
            _await_answer(process, port, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/healthz")
            connection.getresponse()
            return
        time.sleep(0.05)
    raise ServerFailed(f"{process.args!r} did not start: {log.read_text()[-2000:]}")


def descendants(root: int) -> list[int]:
    """Return the process ids of *root* and its descendants."""
    parents: dict[int, int] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(directory.name)] = int(_stat(int(directory.name))[1])
    family = [root]
    for process in family:
        family.extend(child for child, parent in parents.items() if parent == process)
    return family


def cpu_seconds(root: int) -> float:
    """Return the processor time that *root* and its descendants, ended ones included, have used so far."""
    ticks = 0
    for process in descendants(root):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(process)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[str]:
    """Return the fields of /proc/<process>/stat after the command's name: state, ppid, …"""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
