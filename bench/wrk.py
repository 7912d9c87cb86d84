"""Loads a server with wrk, a generator in C that uses less processor time than :mod:`bench.load`."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.load import LoadFailed, Round

SCRIPT = Path(__file__).parent / "wrk.lua"

MAX_REQUESTS = 10_000
"""Maximum number of requests that are prepared per round. wrk repeats them."""


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Load a port of the loopback like :func:`bench.load.run`.

    wrk reports no status, so each request without a successful response counts as refused by a quota. At its end, wrk
    does not wait for responses, so the server may have served one request more per connection.

    :param seconds: wrk rounds them to whole seconds, at least one.
    :returns: a round, which has no response if each takes longer than *seconds*.
    :raises LoadFailed: the server cannot be reached.
    """
    requests = list(itertools.islice(upcoming, MAX_REQUESTS))
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        file.writelines(b"%d\n%s" % (len(request), request) for request in requests)
        file.flush()
        options = ["-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "--timeout", "30s"]
        command = ["wrk", *options, "-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        summary = json.loads("{" + done.stdout.rpartition("\n{")[2])
    except ValueError:
        raise LoadFailed(f"wrk printed no summary: {done.stdout[:500]!r} {done.stderr[:500]!r}") from None
    percentiles = {int(per_cent): microseconds / 1e6 for per_cent, microseconds in summary["percentiles"].items()}
    return Round(summary["responses"], summary["elapsed"] / 1e6, percentiles, summary["unsuccessful"])
