"""The load by wrk, a generator in C: it takes less of the machine that it shares with what it measures."""

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
"""Of a round: so many are taken from the upcoming ones, even if fewer are sent. After them wrk begins again."""


def run(port: int, upcoming: Iterator[bytes], *, connections: int, seconds: float) -> Round:
    """Closed loop, as :func:`bench.load.run`.

    :raises LoadFailed: a request failed, or none was answered, or no request is left.
    """
    requests = list(itertools.islice(upcoming, MAX_REQUESTS))
    if not requests:
        raise LoadFailed("no request is left for wrk")
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        # Each request begins with its length, so that it may hold any byte.
        for request in requests:
            file.write(b"%d\n%s" % (len(request), request))
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # wrk takes whole seconds only.
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "-s", str(SCRIPT)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}", "--", file.name], capture_output=True, text=True, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own_cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parsed(done.stdout.rpartition("\n{")[2] and "{" + done.stdout.rpartition("\n{")[2], own_cpu, connections)


def parsed(summary: str, own_cpu: float, connections: int) -> Round:
    """The round in the JSON that wrk.lua prints.

    wrk does not say which status a response has, so each that is no success counts as refused by a quota. Nor does it
    say what is under way at its end.

    :param connections: that it had.

    :raises LoadFailed: there is none, or it says that something failed.
    """
    try:
        found = json.loads(summary)
    except ValueError:
        raise LoadFailed(f"wrk printed no summary: {summary[:500]!r}") from None
    if found["failed"] or not found["responses"]:
        raise LoadFailed(f"wrk: {found['failed']} requests failed, {found['responses']} were answered")
    percentiles = {float(per_cent): value / 1e6 for per_cent, value in found["percentiles"].items()}
    return Round(found["responses"], found["elapsed"] / 1e6, own_cpu, percentiles, found["refused"], connections)
