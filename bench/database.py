"""The benchmark's database: what is in it, what was counted, and what the machine is."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import time
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.clock import utc_now
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.jose.jwk import public_jwk
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.usage_history.monthly_sums import store_sums
from bench.python_speed import DICTIONARIES, loop_time

AGENTS = 100


@dataclass(frozen=True)
class Shape:
    """How much is in a database.

    :param agents: of the large organization.
    :param others: small organizations beside it.
    :param agents_each: of each small organization.
    :param days: of usage, up to today.
    :param times: by which all tokens are multiplied.
    """

    agents: int = AGENTS
    others: int = 100
    agents_each: int = 10
    days: int = 90
    times: int = 1


USUAL = Shape()
"""Of `make bench`."""

FEDERATED_RULE = {"issuer": "https://issuer.example", "subject": "bench", "audience": "bench"}
"""Which tokens of another issuer are the first agent's."""


def seed(url: str, key: ec.EllipticCurvePrivateKey, shape: Shape = USUAL) -> list[tuple[str, str]]:
    """Fill the database; returns client_id and client_secret of the large organization's agents.

    :param key: of the first of them.
    """
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    jwks = [public_jwk(jwk | {"kid": "bench"})]
    client_secrets = [new_secret() for _ in range(shape.agents)]
    statement = (Path(__file__).parent / "seed.sql").read_text(encoding="utf-8")
    parameters = {
        "large": f"org-{uuid.uuid4()}",
        "secret_hashes": [hash_secret(secret) for secret in client_secrets],
        "jwks": json.dumps(jwks),
        "trust": json.dumps(FEDERATED_RULE | {"jwks": {"keys": jwks}}),
        "others": shape.others,
        "agents_each": shape.agents_each,
        "days": shape.days,
        "times": shape.times,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(statement, parameters).fetchall()
    with connect(url) as operator:
        # As `agentidp watch` does every few minutes.
        store_sums(operator, str(parameters["large"]), utc_now())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return [(str(agent_id), client_secrets[number - 1]) for agent_id, number in rows]


def set_quotas(url: str, far: tuple[str, str], used: tuple[str, str]) -> None:
    """Give the client *far* three quotas that are far from their end, and the client *used* one that is used up."""
    with connect(url) as connection:
        [row] = connection.execute("select organization_id from clients where client_id = %s", [far[0]]).fetchall()
        with operator_transaction(connection, row.organization_id, utc_now()) as opened:
            quotas.lock(opened)
            for window in WINDOWS:
                quotas.set_quota(opened, UUID(far[0]), window, tokens=10**9, is_enforced=True)
            quotas.set_quota(opened, UUID(used[0]), "month", tokens=1, is_enforced=True)


TARGET, TOOLS = "https://bench-target.example", "https://bench-tools.example"
"""The resource servers of :func:`let_act`."""

_ACT = (
    "update agents set scopes = array['bench'] "
    "where organization_id = %(organization_id)s and agent_id = any (%(both)s)",
    "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
    "select organization_id, %(actor)s, gen_random_uuid(), jwks, created_at from credentials "
    "where organization_id = %(organization_id)s and jwks is not null limit 1",
    "insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at, agent_id) "
    "values (%(organization_id)s, gen_random_uuid(), %(target)s, 'target', array['bench'], now(), null), "
    "(%(organization_id)s, gen_random_uuid(), %(tools)s, 'tools', array['bench'], now(), %(actor)s)",
    "insert into resource_identifiers (resource, organization_id, claimed_at) "
    "values (%(target)s, %(organization_id)s, now()), (%(tools)s, %(organization_id)s, now())",
)


def let_act(url: str, subject: tuple[str, str], actor: tuple[str, str]) -> None:
    """Let the client *actor*, which also gets the first one's key, exchange tokens of *subject* for :data:`TOOLS` for
    tokens for :data:`TARGET`.
    """
    with connect(url) as connection:
        [row] = connection.execute("select organization_id from clients where client_id = %s", [actor[0]]).fetchall()
        both = [UUID(subject[0]), UUID(actor[0])]
        named = {"organization_id": row.organization_id, "both": both, "actor": both[1]}
        with operator_transaction(connection, row.organization_id, utc_now()):
            for statement in _ACT:
                connection.execute(statement.encode(), named | {"target": TARGET, "tools": TOOLS})


def are_delegations_counted(url: str) -> tuple[bool, str]:
    """Whether all tokens for :data:`TARGET`, which are by exchange, are counted by whom they are for; and a sentence
    about it.
    """
    with psycopg.connect(url) as connection:
        tokens, delegations = (
            (connection.execute(f"{_SUM_OF} {table} where resource = %s".encode(), [TARGET]).fetchone() or (0,))[0]
            for table in ("credential_usage_daily", "delegation_usage_daily")
        )
    return tokens == delegations, f"{tokens:,} by exchange, counted by subject: {delegations:,}"


_SUM_OF = "select coalesce(sum(tokens), 0)::bigint from"

COUNTERS = {"organization": "usage_daily", "agent": "agent_usage_daily", "credential": "credential_usage_daily"}
"""What tokens are counted by -> the table."""


def counted(url: str) -> list[int]:
    """The tokens that each of :data:`COUNTERS` holds."""
    with psycopg.connect(url) as connection:
        # Each by itself: Citus refuses one as a part of the other.
        rows = [connection.execute(f"{_SUM_OF} {table}".encode()).fetchone() for table in COUNTERS.values()]
    return [row[0] for row in rows if row]


def counted_since(url: str, before: list[int], issued: int, under_way: int) -> tuple[bool, str]:
    """Whether each of :data:`COUNTERS` counted each token that was answered exactly once, and how much they have
    grown as a sentence.

    :param under_way: at most so many more may be counted.
    """
    grown = [after - earlier for after, earlier in zip(counted(url), before, strict=True)]
    by = ", ".join(f"{number:,} by {name}" for name, number in zip(COUNTERS, grown, strict=True))
    is_exact = len(set(grown)) == 1 and 0 <= grown[0] - issued <= under_way
    return is_exact, f"{issued:,} tokens answered, counted: {by}"


def sync_time(directory: Path) -> float:
    """Seconds that one write of 8 kB takes to be on the disk below *directory*: what a commit waits for."""
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(100):
            begin = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def facts(url: str, home: Path) -> str:
    """What the figures depend on."""
    with psycopg.connect(url) as connection:
        postgresql = connection.info.parameter_status("server_version")
    models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cpu = models[0] if models else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("Flask", "gunicorn", "psycopg", "PyJWT"))
    return (
        f"{time.strftime('%F %R', time.gmtime())} UTC, {len(os.sched_getaffinity(0))} cores ({cpu}), "
        f"load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()} ({DICTIONARIES:,} dictionaries in {loop_time() * 1000:.1f} ms), "
        f"PostgreSQL {postgresql} with fsync "
        f"(8 kB on the disk in {sync_time(home) * 1000:.2f} ms), {packages}"
    )
