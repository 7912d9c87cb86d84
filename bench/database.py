"""Fills the benchmark's database, and describes the machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import statistics
import time
import uuid
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.clock import utc_now
from agentidp.db.database import connect
from agentidp.db.organization import operator_transaction
from agentidp.jose.jwk import check_public_jwk
from agentidp.jose.jws import base64url
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.oauth.grants import create_token
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.usage_history.monthly_sums import store_sums


@dataclass(frozen=True)
class Shape:
    """The size of a database.

    :param agents: the number of agents of the large organization.
    :param others: the number of small organizations.
    :param agents_each: the number of agents per small organization.
    :param days: the number of days with usage, up to today.
    :param times: the factor by which all tokens are multiplied.
    """

    agents: int = 100
    others: int = 100
    agents_each: int = 10
    days: int = 90
    times: int = 1


FEDERATED_RULE = {"issuer": "https://issuer.example", "subject": "bench", "audience": "bench"}
"""The rule by which the first agent accepts tokens of another issuer."""


def seed(url: str, key: ec.EllipticCurvePrivateKey, shape: Shape) -> list[tuple[str, str]]:
    """Fill the database and return client_id and client_secret of the large organization's agents.

    :param key: the key of the first and of the last agent.
    """
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    jwks = [check_public_jwk(jwk | {"kid": "bench"})]
    client_secrets = [new_secret() for _ in range(shape.agents)]
    organization_id = f"org-{uuid.uuid4()}"
    rows = execute(
        url,
        "seed",
        large=organization_id,
        secret_hashes=[hash_secret(secret) for secret in client_secrets],
        jwks=json.dumps(jwks),
        trust=json.dumps(FEDERATED_RULE | {"jwks": {"keys": jwks}}),
        **asdict(shape),
    )
    with connect(url) as operator:
        # `agentidp watch` does this every few minutes.
        store_sums(operator, organization_id, utc_now())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return [(str(agent_id), client_secrets[number - 1]) for agent_id, number in rows]


def execute(url: str, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Run ``bench/<name>.sql`` and return its rows."""
    statement = (Path(__file__).parent / f"{name}.sql").read_bytes()
    with psycopg.connect(url) as connection:
        return connection.execute(statement, parameters).fetchall()


def set_quotas(url: str, far: tuple[str, str], exhausted: tuple[str, str]) -> None:
    """Give the client *far* three quotas that it cannot reach, and *exhausted* a quota that is used up."""
    with connect(url) as connection:
        [row] = connection.execute("select organization_id from clients where client_id = %s", [far[0]]).fetchall()
        with operator_transaction(connection, row.organization_id, utc_now()) as transaction:
            quotas.lock(transaction)
            for window in WINDOWS:
                quotas.set_quota(transaction, UUID(far[0]), window, tokens=10**9, is_enforced=True)
            quotas.set_quota(transaction, UUID(exhausted[0]), "month", tokens=1, is_enforced=True)


TARGET, TOOLS = "https://bench-target.example", "https://bench-tools.example"
"""The resource servers of ``bench/add_resource_servers.sql``."""

_VERIFIER = "v" * 43


def add_codes(url: str, client: tuple[str, str], number: int) -> list[str]:
    """Add authorization codes for tokens for :data:`TARGET`, and return the forms that redeem them."""
    codes = [create_token(UUID(client[0])) for _ in range(number)]
    execute(
        url,
        "add_codes",
        agent_id=client[0],
        target=TARGET,
        challenge=base64url(hashlib.sha256(_VERIFIER.encode()).digest()).decode(),
        grant_ids=[code.grant_id for code in codes],
        encrypted=[code.encrypt("person") for code in codes],
        digests=[code.digest for code in codes],
    )
    return [f"grant_type=authorization_code&code={code.text}&code_verifier={_VERIFIER}" for code in codes]


def measure_sync(directory: Path) -> float:
    """Return the median seconds until 8 kB are on the disk of *directory*, for which a commit waits."""
    times = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(100):
            begin = time.perf_counter()
            file.write(b"x" * 8192)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def describe_machine(url: str, home: Path) -> str:
    """Return a description of the machine and the programs, on which the figures depend."""
    with psycopg.connect(url) as connection:
        postgresql = connection.info.parameter_status("server_version")
    models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cpu = models[0] if models else platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("Flask", "gunicorn", "psycopg", "PyJWT"))
    return (
        f"{time.strftime('%F %R', time.gmtime())} UTC, {len(os.sched_getaffinity(0))} cores ({cpu}), "
        f"load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()}, PostgreSQL {postgresql} with fsync "
        f"(8 kB on the disk in {measure_sync(home) * 1000:.2f} ms), {packages}"
    )
