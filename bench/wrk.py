"""Loads a server with wrk, a generator in C that uses less processor time than ours."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.load import LoadFailed, Round

SCRIPT = Path(__file__).parent / "wrk.lua"
MAX_REQUESTS = 10_000
"""Maximum requests taken from the upcoming requests per round. After them wrk begins again."""


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Load a port like :func:`bench.load.run`.

    :raises LoadFailed: a request failed, no request was answered, or no request is left.
    """
    requests = list(itertools.islice(upcoming, MAX_REQUESTS))
    if not requests:
        raise LoadFailed("no request is left for wrk")
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        # Each request begins with its length, because it may contain any byte.
        for request in requests:
            file.write(b"%d\n%s" % (len(request), request))
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # wrk takes whole seconds only.
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "-s", str(SCRIPT)]
        command += ["--timeout", "30s"]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}", "--", file.name], capture_output=True, text=True, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own_cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parsed(done.stdout.rpartition("\n{")[2] and "{" + done.stdout.rpartition("\n{")[2], own_cpu, connections)


def parsed(summary: str, own_cpu: float, connections: int) -> Round:
    """Return the round in the JSON that wrk.lua prints.

    wrk does not report a response's status, so each response that is not a success counts as refused by a quota. It
    does not report the requests under way at its end either, of which there is at most one per connection.

    :raises LoadFailed: there is no JSON, or it reports failures.
    """
    try:
        figures = json.loads(summary)
    except ValueError:
        raise LoadFailed(f"wrk printed no summary: {summary[:500]!r}") from None
    if figures["failed"] or not figures["responses"]:
        raise LoadFailed(f"wrk: {figures['failed']} requests failed, {figures['responses']} were answered")
    percentiles = {float(per_cent): value / 1e6 for per_cent, value in figures["percentiles"].items()}
    return Round(figures["responses"], figures["elapsed"] / 1e6, own_cpu, percentiles, figures["refused"], connections)
