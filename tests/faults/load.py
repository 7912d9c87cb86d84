"""Clients: threads that ask for tokens, read analytics with them, and write every response down."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from agentidp.clock import utc_now
from agentidp.jose.jwk import check_public_jwk
from agentidp.oauth.client_assertion import TYPE
from agentidp.registry.credentials import add_credential
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import database_of, make_agent, make_organization
from tests.faults.bounds import CLIENT_TIMEOUT, CLIENTS
from tests.faults.ledger import Answer

PAUSE = 0.05
"""Seconds between two requests of a client, so that the machine is busy but not overloaded."""

READ_EVERY = 5
"""Every how many requests a client reads the analytics with its last token."""

MAX_REQUESTS = 4000
"""Maximum number of requests of a client."""

ISSUER = "http://localhost:3000"
"""The issuer of all servers of the rig, so that a server accepts the tokens of the others."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TREND = "/api/v1/analytics/tokens?days=2"


@dataclass(frozen=True)
class Client:
    """An agent, which authenticates by a secret, or by a key if it has one."""

    agent_id: uuid.UUID
    secret: str
    key: ec.EllipticCurvePrivateKey | None = None

    def token_request(self, turn: int) -> tuple[str, dict[str, str]]:
        """Return the body and headers by the key, ``client_secret_basic`` or ``client_secret_post``, in turns."""
        form = {"grant_type": "client_credentials"}
        client_id = str(self.agent_id)
        if self.key is not None:
            now = int(time.time())
            claims = {"iss": client_id, "sub": client_id, "aud": ISSUER, "exp": now + 300, "jti": uuid.uuid4().hex}
            form |= {"client_assertion_type": TYPE, "client_assertion": jwt.encode(claims, self.key, "ES256")}
        elif turn % 2:
            form |= {"client_id": client_id, "client_secret": self.secret}
        else:
            basic = base64.b64encode(f"{client_id}:{self.secret}".encode()).decode()
            return urlencode(form), FORM | {"Authorization": f"Basic {basic}"}
        return urlencode(form), FORM


@dataclass(frozen=True)
class Fleet:
    """An organization and its agents. One in four agents authenticates by a key."""

    organization_id: str
    clients: list[Client]

    @classmethod
    def make(cls, url: str, agents: int = 8) -> Fleet:
        """Register the fleet in the database at *url*."""
        services = Services.of(settings_for(url), utc_now)
        try:
            organization_id = make_organization(services)
            clients = []
            for number in range(agents):
                agent = make_agent(services, organization_id, f"agent {number}")
                key = ec.generate_private_key(ec.SECP256R1()) if number % 4 == 3 else None
                if key is not None:
                    jwk = check_public_jwk(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())))
                    with database_of(services, organization_id).transaction() as transaction:
                        add_credential(transaction, agent.agent_id, jwks=[jwk], expires_at=None)
                clients.append(Client(agent.agent_id, agent.client_secret, key))
        finally:
            services.close()
        return cls(organization_id, clients)


class Connection:
    """A persistent connection that returns every outcome as an :class:`~tests.faults.ledger.Answer`."""

    def __init__(self, port: int, timeout: float = CLIENT_TIMEOUT) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        agent_id: uuid.UUID | None = None,
    ) -> Answer:
        """One request."""
        began = time.monotonic()
        is_sent = False
        try:
            if self._http.sock is None:
                self._http.connect()
            is_sent = True
            self._http.request(method, path, body, headers or {})
            response = self._http.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            is_unknown = is_sent and kind == "token"
            problem = type(error).__name__
            return Answer(kind, agent_id, began, time.monotonic(), None, is_unknown, problem=problem)
        ended = time.monotonic()
        if kind == "token" and response.status == 200:
            token = json.loads(text)["access_token"]
            jti = jwt.decode(token, options={"verify_signature": False})["jti"]
            return Answer(kind, agent_id, began, ended, 200, token=token, jti=jti)
        is_unknown = kind == "token" and response.status >= 500 and "is unknown whether" in text
        return Answer(kind, agent_id, began, ended, response.status, is_unknown, problem=text[:200])

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Load:
    """Threads of a fleet that request tokens at one server, and read with these tokens at the next server.

    :param ports: the ports of the servers, on the loopback.
    """

    def __init__(self, fleet: Fleet, ports: Sequence[int], threads: int = CLIENTS) -> None:
        self._fleet, self._ports = fleet, ports
        self._answers: list[list[Answer]] = [[] for _ in range(threads + 1)]
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_for_tokens, args=(n, answers))
            for n, answers in enumerate(self._answers[:-1])
        ]
        self._threads.append(threading.Thread(target=self._watch, args=(self._answers[-1],)))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Answer]:
        """Stop the threads, and return all answers."""
        self._end.set()
        for thread in self._threads:
            thread.join(3 * CLIENT_TIMEOUT)
            assert not thread.is_alive()
        return self.answers()

    def answers(self) -> list[Answer]:
        """Return all answers until now."""
        return [answer for answers in self._answers for answer in list(answers)]

    def clients(self) -> list[list[Answer]]:
        """Return the answers to token requests until now, one list per client."""
        return [[answer for answer in list(answers) if answer.kind == "token"] for answers in self._answers[:-1]]

    def acknowledged(self) -> int:
        """Return the number of tokens that clients have received until now."""
        return sum(answer.status == 200 for answers in self.clients() for answer in answers)

    def _ask_for_tokens(self, number: int, answers: list[Answer]) -> None:
        servers = len(self._ports)
        issues, reads = (Connection(self._ports[n % servers]) for n in (number, number + 1))
        token = ""
        for turn in range(MAX_REQUESTS):
            if self._end.is_set():
                break
            if token and turn % READ_EVERY == 0:
                answer = reads.ask("read", "GET", TREND, headers={"Authorization": f"Bearer {token}"})
            else:
                client = self._fleet.clients[(number + turn * CLIENTS) % len(self._fleet.clients)]
                body, headers = client.token_request(turn)
                answer = issues.ask("token", "POST", "/api/v1/token", body, headers, client.agent_id)
                token = answer.token or token
            answers.append(answer)
            time.sleep(PAUSE)
        issues.close()
        reads.close()

    def _watch(self, answers: list[Answer]) -> None:
        """Send requests that need no database: the health check, the keys, and a forged token."""
        connection = Connection(self._ports[0])
        forged = ""
        while not self._end.wait(5 * PAUSE):
            answers.append(connection.ask("/healthz", "GET", "/healthz"))
            answers.append(connection.ask("/.well-known/jwks.json", "GET", "/.well-known/jwks.json"))
            forged = forged or _forged(self._answers)
            if forged:
                answers.append(connection.ask("/forged", "GET", TREND, headers={"Authorization": f"Bearer {forged}"}))
        connection.close()


def _forged(answers: list[list[Answer]]) -> str:
    """Return a token with the signature of another token."""
    first, second, *_ = [*(a.token for part in answers for a in list(part[:4]) if a.token), "", ""]
    return f"{first.rpartition('.')[0]}.{second.rpartition('.')[2]}" if second else ""
