"""The peer: @node-oauth/oauth2-server on Express, which signs each token with ES256 and stores it in our PostgreSQL.

It needs Node and npm.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.servers import ServerFailed, server

SOURCE = Path(__file__).parent
INSTALL_SECONDS = 180

_TABLES = """
create table peer_clients as select agent_id as client_id, secret_hash from credentials where secret_hash is not null;
alter table peer_clients add primary key (client_id);
create table peer_tokens (token_hash bytea primary key, client_id uuid not null, expires_at timestamptz not null);
"""


@contextlib.contextmanager
def peer(url: str, port: int, directory: Path) -> Iterator[int]:
    """Run the peer with AgentIdP's clients, and yield its process id. Its tables are in AgentIdP's database.

    :raises ServerFailed: npm cannot install the peer, or the peer does not start.
    """
    home = directory / "peer"
    shutil.copytree(SOURCE, home, ignore=shutil.ignore_patterns("__*__*"))
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(npm, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise ServerFailed(f"npm cannot install the peer: {done.stderr[-500:]}")
    with psycopg.connect(url) as connection:
        connection.execute(_TABLES)
        environment = {
            "PGHOST": connection.info.host,
            "PGUSER": connection.info.user,
            "PGPASSWORD": connection.info.password,
            "PGDATABASE": connection.info.dbname,
            "NODE_ENV": "production",
        }
    with server(
        ["node", str(home / "server.mjs")], port=port, environment=environment, log=directory / "peer.log"
    ) as process:
        yield process
