"""Runs commands on a terminal, as a person would."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.factories import PATIENCE, ROOT, SECRET_KEY, clean_environment

CTRL_C = "\x03"
PROMPTS = (b"Continue? [y/N]: ", b" to continue: ", b"Apply this? [y/N]: ")


class Terminal:
    """Runs commands on a database, with a terminal of 200 columns as standard input, output and error."""

    def __init__(self, database_url: str) -> None:
        self.environment = clean_environment() | {
            "AGENTIDP_DATABASE_URL": database_url,
            "AGENTIDP_SECRET_KEY": SECRET_KEY,
            "COLUMNS": "200",
            "TERM": "xterm",
        }

    def __call__(self, *arguments: str, typed: str = "", stdout: Path | None = None) -> tuple[int, str]:
        """Return the exit code of a command and the output on the terminal.

        :param typed: once the command asks.
        :param stdout: a file that standard output goes to instead.
        """
        ours, theirs = pty.openpty()
        with contextlib.ExitStack() as stack:
            output = theirs if stdout is None else stack.enter_context(stdout.open("wb")).fileno()
            process = stack.enter_context(
                subprocess.Popen(
                    # The terminal belongs to the new session, so that Ctrl-C reaches the command.
                    [sys.executable, "-c", RUN, *arguments],
                    stdin=theirs,
                    stdout=output,
                    stderr=theirs,
                    env=self.environment,
                    cwd=ROOT,
                    start_new_session=True,
                )
            )
            stack.callback(process.kill)
            os.close(theirs)
            terminal = stack.enter_context(os.fdopen(ours, "r+b", buffering=0))
            shown, end, answered = b"", time.monotonic() + PATIENCE, False
            # Reading fails when the command has ended, because nothing else has the terminal open.
            with contextlib.suppress(OSError):
                while time.monotonic() < end:
                    if not select.select([terminal], [], [], 5.0)[0]:
                        # Python misses a Ctrl-C between its prompt and its read, so the test presses it again.
                        if answered and typed == CTRL_C:
                            terminal.write(typed.encode())
                        continue
                    piece = terminal.read(4096)
                    if not piece:
                        break
                    shown += piece
                    if typed and not answered and shown.endswith(PROMPTS):
                        terminal.write(typed.encode())
                        answered = True
            status = process.wait(max(0.0, end - time.monotonic()))
        return status, re.sub(r"\r+\n", "\n", shown.decode())


RUN = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# Whoever runs the tests in the background may have Ctrl-C ignored, which commands inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
from agentidp.cli import main
sys.argv[0] = "agentidp"
main()
"""
