"""The peer: @node-oauth/oauth2-server on Express, which signs each token with ES256 and stores it in our PostgreSQL.

It needs Node and npm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.servers import ServerFailed, server

SOURCE = Path(__file__).parent
INSTALL_SECONDS = 180
DATABASE = "peer"

_TABLES = """
create table peer_clients (client_id uuid primary key, secret_hash bytea not null);
create table peer_tokens (token_hash bytea primary key, client_id uuid not null, expires_at timestamptz not null);
"""


@contextlib.contextmanager
def peer(url: str, port: int, clients: list[tuple[str, str]], directory: Path) -> Iterator[int]:
    """Run the peer with the same clients in its own database of AgentIdP's PostgreSQL, and yield its process id.

    :raises ServerFailed: npm cannot install the peer, or the peer does not start.
    """
    home = directory / "peer"
    shutil.copytree(SOURCE, home, ignore=shutil.ignore_patterns("__*__*"))
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(npm, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode:
        raise ServerFailed(f"npm cannot install the peer: {done.stderr[-500:]}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    own = make_conninfo(url, dbname=DATABASE)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute(_TABLES)
        for client_id, client_secret in clients:
            digest = hashlib.sha256(client_secret.encode()).digest()
            connection.execute("insert into peer_clients values (%s, %s)", (client_id, digest))
    key = ec.generate_private_key(ec.SECP256R1())
    environment = libpq_environment(own) | {
        "PROCESSES": str(len(os.sched_getaffinity(0))),
        "SIGNING_KEY": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "NODE_ENV": "production",
    }
    with server(
        ["node", str(home / "server.mjs")], port=port, environment=environment, log=directory / "peer.log"
    ) as process:
        yield process


def libpq_environment(conninfo: str) -> dict[str, str]:
    """Return a connection string as the environment variables that libpq and node-postgres read."""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    values = conninfo_to_dict(conninfo)
    return {variable: str(values[name]) for name, variable in names.items() if values.get(name)}
