"""Fills the benchmark's database, reads its counters, and describes the machine."""

from __future__ import annotations

import hashlib
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
from agentidp.jose.jwk import check_public_jwk
from agentidp.jose.jws import base64url
from agentidp.oauth.client_secret import hash_secret, new_secret
from agentidp.oauth.grants import create_token
from agentidp.oauth.quota_windows import WINDOWS
from agentidp.registry import quotas
from agentidp.usage_history.monthly_sums import store_sums

AGENTS = 100


@dataclass(frozen=True)
class Shape:
    """The size of a database.

    :param agents: the number of agents of the large organization.
    :param others: the number of small organizations.
    :param agents_each: the number of agents per small organization.
    :param days: the number of days with usage, up to today.
    :param times: the factor by which all tokens are multiplied.
    """

    agents: int = AGENTS
    others: int = 100
    agents_each: int = 10
    days: int = 90
    times: int = 1


FEDERATED_RULE = {"issuer": "https://issuer.example", "subject": "bench", "audience": "bench"}
"""The rule by which the first agent accepts tokens of another issuer."""


def seed(url: str, key: ec.EllipticCurvePrivateKey, shape: Shape) -> list[tuple[str, str]]:
    """Fill the database and return client_id and client_secret of the large organization's agents.

    :param key: the first agent's key.
    """
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    jwks = [check_public_jwk(jwk | {"kid": "bench"})]
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
        # `agentidp watch` does this every few minutes.
        store_sums(operator, str(parameters["large"]), utc_now())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return [(str(agent_id), client_secrets[number - 1]) for agent_id, number in rows]


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
"""The resource servers of :func:`allow_exchange`."""

_ACT = (
    "update agents set scopes = array['bench'] "
    "where organization_id = %(organization_id)s and agent_id = any (%(agent_ids)s)",
    "insert into credentials (organization_id, agent_id, credential_id, jwks, created_at) "
    "select organization_id, %(actor)s, gen_random_uuid(), jwks, created_at from credentials "
    "where organization_id = %(organization_id)s and jwks is not null limit 1",
    "insert into resource_servers (organization_id, resource_server_id, resource, name, scopes, created_at, agent_id) "
    "values (%(organization_id)s, gen_random_uuid(), %(target)s, 'target', array['bench'], now(), null), "
    "(%(organization_id)s, gen_random_uuid(), %(tools)s, 'tools', array['bench'], now(), %(actor)s)",
    "insert into resource_identifiers (resource, organization_id, claimed_at) "
    "values (%(target)s, %(organization_id)s, now()), (%(tools)s, %(organization_id)s, now())",
)


def allow_exchange(url: str, subject: tuple[str, str], actor: tuple[str, str]) -> None:
    """Let *actor* exchange tokens of *subject* for :data:`TOOLS` for tokens for :data:`TARGET`.

    *actor* also gets the first agent's key.
    """
    with connect(url) as connection:
        [row] = connection.execute("select organization_id from clients where client_id = %s", [actor[0]]).fetchall()
        parameters = {
            "organization_id": row.organization_id,
            "agent_ids": [UUID(subject[0]), UUID(actor[0])],
            "actor": UUID(actor[0]),
            "target": TARGET,
            "tools": TOOLS,
        }
        with operator_transaction(connection, row.organization_id, utc_now()):
            for statement in _ACT:
                connection.execute(statement.encode(), parameters)


_VERIFIER = "v" * 43

_LET_ACT = (
    "insert into delegation_rules (organization_id, delegation_rule_id, name, trust, agent_ids, resources, created_at) "
    "values (%(organization_id)s, %(rule_id)s, 'people', '{\"issuer\": \"https://issuer.example\"}', "
    "array[%(agent_id)s::uuid], jsonb_build_array(jsonb_build_object('resource', %(target)s::text, "
    "'scopes', array['bench'])), now())",
    "insert into grants (organization_id, grant_id, agent_id, delegation_rule_id, issuer, subject, subject_encrypted, "
    "resource, scopes, token_digest, challenge, redirect_uri, days, created_at, expires_at) "
    "select %(organization_id)s, grant_id, %(agent_id)s, %(rule_id)s, 'https://issuer.example', 'person', encrypted, "
    "%(target)s, array['bench'], digest, %(challenge)s, 'http://127.0.0.1/', 30, now(), now() + interval '1 hour' "
    "from unnest(%(grant_ids)s::uuid[], %(encrypted)s::bytea[], %(digests)s::bytea[]) "
    "as codes (grant_id, encrypted, digest)",
)


def add_codes(url: str, client: tuple[str, str], number: int) -> list[str]:
    """Add authorization codes for tokens for :data:`TARGET`, and return the forms that redeem them."""
    codes = [create_token(UUID(client[0])) for _ in range(number)]
    with connect(url) as connection:
        [row] = connection.execute("select organization_id from clients where client_id = %s", [client[0]]).fetchall()
        parameters = {
            "organization_id": row.organization_id,
            "agent_id": client[0],
            "rule_id": uuid.uuid4(),
            "target": TARGET,
            "challenge": base64url(hashlib.sha256(_VERIFIER.encode()).digest()).decode(),
            "grant_ids": [code.grant_id for code in codes],
            "encrypted": [code.encrypt("person") for code in codes],
            "digests": [code.digest for code in codes],
        }
        with operator_transaction(connection, row.organization_id, utc_now()):
            for statement in _LET_ACT:
                connection.execute(statement.encode(), parameters)
    return [f"grant_type=authorization_code&code={code.text}&code_verifier={_VERIFIER}" for code in codes]


def are_delegations_counted(url: str) -> tuple[bool, str]:
    """Return whether all tokens for :data:`TARGET`, which are for others, are counted by subject, and a sentence."""
    with psycopg.connect(url) as connection:
        tokens, delegations = (
            (connection.execute(f"{_SUM_OF} {table} where resource = %s".encode(), [TARGET]).fetchone() or (0,))[0]
            for table in ("credential_usage_daily", "delegation_usage_daily")
        )
    return tokens == delegations, f"{tokens:,} for others, counted by subject: {delegations:,}"


_SUM_OF = "select coalesce(sum(tokens), 0)::bigint from"

COUNTERS = {"organization": "usage_daily", "agent": "agent_usage_daily", "credential": "credential_usage_daily"}
"""Grain of a counter -> its table."""


def read_sums(url: str) -> list[int]:
    """Return the sum of tokens in each of :data:`COUNTERS`."""
    with psycopg.connect(url) as connection:
        rows = [connection.execute(f"{_SUM_OF} {table}".encode()).fetchone() for table in COUNTERS.values()]
    return [row[0] for row in rows if row]


class Tally:
    """The tokens that a run has received from the service on a database.

    :ivar issued: the number of tokens that were received.
    :ivar unanswered: the maximum number of further tokens, whose responses wrk did not wait for.
    """

    def __init__(self, url: str) -> None:
        self._url, self._sums_before = url, read_sums(url)
        self.issued = self.unanswered = 0

    def is_exact(self) -> tuple[bool, str]:
        """Return whether each of :data:`COUNTERS` counted each token exactly once, and a sentence about it."""
        counts = [after - before for after, before in zip(read_sums(self._url), self._sums_before, strict=True)]
        sentence = ", ".join(f"{count:,} by {name}" for name, count in zip(COUNTERS, counts, strict=True))
        is_exact = len(set(counts)) == 1 and self.issued <= counts[0] <= self.issued + self.unanswered
        unanswered = f" and at most {self.unanswered:,} unanswered" if self.unanswered else ""
        return is_exact, f"{self.issued:,} tokens answered{unanswered}, counted: {sentence}"


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
