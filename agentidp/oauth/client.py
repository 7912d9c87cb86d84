"""The client of a request and the states of its credential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from agentidp.federation.issuer_tokens import IssuerToken


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request and its credential.

    The statement that issues the token compares a secret's digest. It also checks that a valid credential still has the
    key or the rule of trust that verified the client's assertion. A client has one of these states:

    | state | members that are set |
    |---|---|
    | has a secret, not yet verified | ``secret_hash`` |
    | own key has verified the assertion | ``key_or_rule``, ``assertion_digest`` and ``digest_expires_at`` |
    | rule has accepted another issuer's token | ``key_or_rule``; ``verify_again`` if the rule was in memory |
    | public client without a credential | ``key_or_rule``, which is ``PUBLIC`` |
    | refused | ``refusal`` |
    | accepted, but has no agent yet | ``new_subject`` |

    The statement also runs for a refused client, so that a failure always takes the same time. A refused client has
    neither ``secret_hash`` nor ``key_or_rule``, so no stored credential matches, and the statement returns no row.

    :param organization_id: an ID that no organization has, if the client is unknown.
    :param agent_id: an ID that no agent has, if the client is unknown.
    :param secret_hash: the digest of the secret in the request.
    :param client_id: the ``client_id`` as it was sent, valid or not, by which failures are throttled.
    :param is_remembered: whether the client's organization was read from memory instead of the database.
    :param key_or_rule: the key (alone in a JSON array) or rule of trust (a JSON object) that verified the assertion.
    :param assertion_digest: the digest of the assertion's ``jti``, which the statement that issues the token consumes.
    :param digest_expires_at: the time until which this digest is stored.
    :param is_federated: whether the assertion is a token of another issuer.
    :param refusal: the logged reason why the assertion is refused.
    :param new_subject: the row of the accepting provisioning rule, and the token of the subject that has no agent yet.
    :param verify_again: verifies the assertion by the stored rules, if a rule in memory has verified it.
    """

    organization_id: str
    agent_id: UUID
    secret_hash: bytes | None = None
    client_id: str = ""
    is_remembered: bool = False
    key_or_rule: str | None = None
    assertion_digest: bytes | None = None
    digest_expires_at: datetime | None = None
    is_federated: bool = False
    refusal: str | None = None
    new_subject: tuple[Any, IssuerToken] | None = None
    verify_again: Callable[[], Client] | None = None

    @property
    def credential(self) -> tuple[UUID, bytes | str | None]:
        """The agent's ID, and the secret's digest, the key or the rule: a cache key for data about a credential."""
        return self.agent_id, self.secret_hash or self.key_or_rule
