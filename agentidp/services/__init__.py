"""Objects that an application's requests share, such as its settings, clock, database, keys and client directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import current_app

from agentidp.actor import SYSTEM, Actor
from agentidp.config import Settings
from agentidp.db.database import Database
from agentidp.db.read_replica import ReadReplica
from agentidp.federation.issuer_keys import IssuerKeys
from agentidp.federation.issuer_tokens import IssuerTokens
from agentidp.jose.access_token import AccessToken
from agentidp.jose.signing_keys import SigningKeys
from agentidp.outbound.networks import LOOPBACK, AllowedNetworks
from agentidp.services.client_directory import ClientDirectory
from agentidp.services.fair_queue import FairQueue
from agentidp.services.token_rate import TokenRate


@dataclass(frozen=True)
class Services:
    """The objects that all requests of an application share.

    :param clock: returns the current time.
    :param keys: the signing keys of the instance.
    :param directory: the organization of each client.
    :param token_rate: limits the tokens that this process issues per agent and minute.
    :param issuer_tokens: verifies tokens of other issuers, and caches rules of trust and the issuers' keys.
    :param client_keys: the key that verified a client's last assertion, as JSON and parsed, by agent, algorithm and
        ``kid`` (:mod:`agentidp.oauth.client_assertion`).
    :param verified_tokens: access tokens that this process has verified (:mod:`agentidp.caller.token_verification`).
    """

    settings: Settings
    clock: Callable[[], datetime]
    database: Database
    read_replica: ReadReplica | None
    keys: SigningKeys
    directory: ClientDirectory
    token_rate: TokenRate
    issuer_tokens: IssuerTokens
    client_keys: dict[tuple[UUID, str, str | None], tuple[str, Any]] = field(default_factory=dict)
    verified_tokens: dict[tuple[int, str | None, bytes], AccessToken] = field(default_factory=dict)
    fair_queue: FairQueue = field(default_factory=FairQueue)

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], datetime], *, actor: Actor = SYSTEM) -> Services:
        """Return the services of an application with these settings, without connecting to the database."""
        database = Database(settings.primary_url, settings, actor=actor)
        return cls(
            settings=settings,
            clock=clock,
            database=database,
            read_replica=ReadReplica(settings.read_database_url, settings) if settings.read_database_url else None,
            keys=SigningKeys(database, settings),
            directory=ClientDirectory(database),
            token_rate=TokenRate(settings.tokens_per_agent_and_minute),
            issuer_tokens=IssuerTokens(
                IssuerKeys(
                    AllowedNetworks(
                        settings.issuer_networks,
                        plain=LOOPBACK if settings.allows_loopback_issuers else (),
                        setting="AGENTIDP_ISSUER_NETWORKS",
                    )
                ),
                own_issuer=settings.issuer,
            ),
        )

    def close(self) -> None:
        """Close the pools of database connections."""
        self.database.close()
        if self.read_replica is not None:
            self.read_replica.database.close()


def services() -> Services:
    """Return the services of the current application."""
    # current_app is a slow proxy, so its object is used directly, as agentidp/http/request_context.py explains.
    application_services: Services = current_app._get_current_object().extensions["agentidp"]  # type: ignore[attr-defined]
    return application_services
