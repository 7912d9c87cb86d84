"""Loads a server with wrk, a generator in C that uses less processor time than ours."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from bench.load import LoadFailed

SCRIPT = Path(__file__).parent / "wrk.lua"


def measure_rate(port: int, request: bytes, *, connections: int, seconds: float) -> float:
    """Send a request repeatedly, and return the responses per second, of any status.

    :raises LoadFailed: wrk prints no rate.
    """
    # wrk takes whole seconds only.
    options = ["-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "--timeout", "30s"]
    with tempfile.NamedTemporaryFile(suffix=".request") as file:
        file.write(request)
        file.flush()
        command = ["wrk", *options, "-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"^Requests/sec: +([0-9.]+)$", done.stdout, re.MULTILINE)
    if rate is None:
        raise LoadFailed(f"wrk printed no rate: {done.stdout[:500]!r} {done.stderr[:500]!r}")
    return float(rate[1])
