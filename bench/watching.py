"""``python -m bench.watching``: what `agentidp watch` costs for many organizations.

Each organization has 10 agents and 90 days of usage in every hour; one in a hundred has 100 agents instead.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from bench.database import facts, seed
from bench.servers import cpu_seconds

HUNDREDS = 10


def main() -> None:
    """Evaluate all organizations several times, and print the processor time of each evaluation."""
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--hundreds", type=int, default=HUNDREDS, help="of organizations")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with temporary(durable=True) as postgres, tempfile.TemporaryDirectory() as directory:
        migrate(postgres.url)
        for _ in range(options.hundreds):
            seed(postgres.url, ec.generate_private_key(ec.SECP256R1()))
        print(facts(postgres.url, Path(directory)), flush=True)
        postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        command = [sys.executable, "-m", "agentidp", "watch", "--once"]
        environment = os.environ | {
            "AGENTIDP_DATABASE_URL": postgres.url,
            "AGENTIDP_SECRET_KEY": secrets.token_urlsafe(48),
        }
        print(f"{'organizations':>13}{'seconds':>9}{'Python s':>10}{'PostgreSQL s':>14}{'ms each':>9}")
        for _ in range(options.rounds):
            begin, python, postgresql = time.monotonic(), os.times(), cpu_seconds(postmaster)
            subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
            seconds, now = time.monotonic() - begin, os.times()
            python_seconds = sum(now[2:4]) - sum(python[2:4])
            postgresql_seconds = cpu_seconds(postmaster) - postgresql
            count = options.hundreds * 101
            each = (python_seconds + postgresql_seconds) / count * 1000
            print(
                f"{count:>13,}{seconds:>9.1f}{python_seconds:>10.1f}{postgresql_seconds:>14.1f}{each:>9.1f}", flush=True
            )


if __name__ == "__main__":
    main()
