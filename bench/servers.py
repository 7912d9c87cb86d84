"""The servers, as processes of their own, and what /proc says of them."""

from __future__ import annotations

import contextlib
import ctypes
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

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 30
"""Seconds for a server to answer."""

STOP_TIMEOUT = 40
"""Seconds for a server to end after SIGTERM; longer than the launcher gives gunicorn."""

PR_SET_PDEATHSIG = 1


class ServerFailed(Exception):
    """A server did not start."""


def free_ports(number: int) -> list[int]:
    """As many different TCP ports of the loopback that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def service_settings(url: str) -> dict[str, str]:
    """The settings of a service on the database at *url* that is to be measured."""
    return {
        "AGENTIDP_DATABASE_URL": url,
        "AGENTIDP_SECRET_KEY": secrets.token_urlsafe(48),
        # Its looks at all organizations would be charged to the requests, most of them to those of the first case.
        "AGENTIDP_WATCH": "off",
        # One agent asks for more than it may elsewhere.
        "AGENTIDP_TOKENS_PER_AGENT_AND_MINUTE": "0",
    }


@contextlib.contextmanager
def server(arguments: list[str], *, port: int, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a server until the block ends.

    :param arguments: of ``python -m``, or a command that begins with ``node``.
    :param environment: the settings; those of the caller's own AgentIdP are left out.
    :param log: gets all that it prints.
    :returns: its process id.
    :raises ServerFailed: it ends, or answers nothing.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTIDP_", "WEB_", "GUNICORN_"))}
    launcher, libc = os.getpid(), ctypes.CDLL(None)

    def end_with_launcher() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(1)

    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches this process alone, which stops the parts in their order.
        process = subprocess.Popen(
            arguments if arguments[0] == "node" else [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=inherited | {"PORT": str(port), "PYTHONPATH": str(ROOT)} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_launcher,
        )
        try:
            _await_answer(process, port, log)
            yield process.pid
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    raise ServerFailed(f"{process.args!r} did not start: {log.read_text()[-2000:]}")


def descendants(root: int) -> list[int]:
    """The process ids of *root* and of all that descend from it."""
    parents: dict[int, int] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(directory.name)] = int(_stat(int(directory.name))[1])
    found = [root]
    for process in found:
        found.extend(child for child, parent in parents.items() if parent == process)
    return found


def workers(root: int) -> list[int]:
    """Of *root*'s descendants those that have no children: gunicorn's workers."""
    family = descendants(root)
    parents = {int(_stat(process)[1]) for process in family}
    return [process for process in family if process not in parents]


def cpu_seconds(root: int) -> float:
    """The processor time that *root* and its descendants, ended ones included, have used so far."""
    ticks = 0
    for process in descendants(root):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(process)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> tuple[float, float]:
    """RSS and PSS of a process in MB (10^6 bytes). PSS counts a page that n processes share as an n-th."""
    figures = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Rss", "Pss"):
            figures[name] = int(value.split()[0]) * 1024 / 1e6
    return figures["Rss"], figures["Pss"]


def _stat(process: int) -> list[str]:
    """The fields of /proc/<process>/stat after the command's name: state, ppid, …"""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
