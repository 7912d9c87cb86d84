"""Authorization codes that are redeemed while something is killed: each gives one token, which is counted once."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlencode

from agentidp.clock import utc_now
from agentidp.oauth.grants import Permission, add_grant
from agentidp.registry.credentials import PUBLIC_JWKS, add_credential
from agentidp.registry.delegation_rules import NewDelegationRuleSchema, add_rule
from agentidp.registry.resource_servers import add_resource_server
from agentidp.services import Services
from tests import citus
from tests.conftest import settings_for
from tests.factories import PATIENCE, database_of, execute, make_agent, make_organization, wait_until
from tests.faults.ledger import read_counts
from tests.faults.load import FORM, PAUSE, Connection

NUMBER, THREADS = 100, 4
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPES = ["tickets:read"]
PROVIDER = "https://login.example"


@dataclass
class Codes:
    """The authorization codes of a public client, one per person.

    :param redeemed: the codes for which a token has arrived.
    :param is_interrupted: whether a request has failed.
    """

    url: str
    organization_id: str
    client_id: str
    codes: list[str]
    redeemed: list[str] = field(default_factory=list)
    is_interrupted: bool = False

    @classmethod
    def make(cls, url: str, worker: str | None = None) -> Codes:
        """Store the codes of people who have allowed the client, in the database at *url*.

        :param worker: the URL of the Citus worker that gets the organization.
        """
        with contextlib.closing(Services.of(settings_for(url), utc_now)) as services:
            organization_id = make_organization(services)
            while worker not in (None, citus.server_of(url, organization_id)):
                organization_id = make_organization(services)
            resource = f"https://{organization_id}.example"
            with database_of(services, organization_id).transaction() as opened:
                add_resource_server(opened, services.settings, resource=resource, name="Tickets", scopes=SCOPES)
            agent = make_agent(services, organization_id, "editor", SCOPES)
            rule = {
                "name": "staff",
                "trust": {"issuer": PROVIDER, "claims": {"groups": "staff"}},
                "agentIds": [agent.client_id],
                "resources": [{"resource": resource, "scopes": SCOPES}],
            }
            with database_of(services, organization_id).transaction() as opened:
                add_credential(opened, agent.agent_id, expires_at=None, jwks=PUBLIC_JWKS)
                rule_id = add_rule(opened, services.settings, NewDelegationRuleSchema().load(rule)).delegation_rule_id
                permission = Permission(
                    agent.agent_id, rule_id, PROVIDER, "", resource, SCOPES, 30, CHALLENGE, "http://127.0.0.1/", None
                )
                people = [f"person {number}" for number in range(NUMBER)]
                codes = [add_grant(opened, permission._replace(person=person)).text for person in people]
        # A code is valid for a minute, and the machine may be slow.
        later = "update grants set expires_at = now() + interval '1 day' where organization_id = %s"
        execute(url, later, organization_id)
        return cls(url, organization_id, agent.client_id, codes)

    def redeem_all(self, port: int, fault: Callable[[], None]) -> None:
        """Redeem all codes at a server, cause the fault meanwhile, and check that each code gave one counted token."""
        with ThreadPoolExecutor(THREADS) as pool:
            parts = [pool.submit(self._redeem, port, self.codes[number::THREADS]) for number in range(THREADS)]
            wait_until(lambda: len(self.redeemed) >= THREADS)
            fault()
            for part in parts:
                part.result()
        assert self.is_interrupted
        assert read_counts(self.url, self.organization_id).sums == {NUMBER}
        # A client whose response got lost repeats the request. That ends what the code gave.
        grants = execute(self.url, "select count(*) from grants where organization_id = %s", self.organization_id)
        assert grants == [(len(self.redeemed),)]

    def _redeem(self, port: int, codes: list[str]) -> None:
        connection = Connection(port)
        for code in codes:
            form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
            form["client_id"] = self.client_id
            is_unknown, deadline = False, time.monotonic() + PATIENCE
            while True:
                answer = connection.ask("token", "POST", "/api/v1/token", urlencode(form), FORM)
                if answer.status == 200:
                    self.redeemed.append(code)
                if answer.status == 200 or (answer.status == 400 and is_unknown):
                    break
                assert answer.status in (None, 503), answer.problem
                assert time.monotonic() < deadline, answer.problem
                is_unknown = is_unknown or answer.is_unknown
                self.is_interrupted = True
                time.sleep(PAUSE)
            time.sleep(PAUSE)
        connection.close()
