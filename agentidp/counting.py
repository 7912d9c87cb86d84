"""Counting: the statements that count a request made and a request rejected; and why and from where it was rejected.

They count by the function ``sql/functions/count_usage.sql``. A token issued is counted by the statement that issues it,
``sql/oauth/issue_access_token.sql``, with the function ``sql/functions/count_token.sql``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID

from flask import g, has_request_context, request

from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.metrics import REJECTIONS

logger = logging.getLogger("agentidp")

UNKNOWN_ORGANIZATION = "org-00000000-0000-0000-0000-000000000000"
"""Counts the failed authentications of clients that nobody registered, in one row a day."""

UNKNOWN_AGENT = UUID(int=0)

MAX_NETWORKS = 200
"""Rows that say from where an organization's rejections of a day came, beside one for all others."""

KEEP_NETWORKS = 30
"""Days for which they are kept, the day itself included."""

KEPT_IPV4_BITS, KEPT_IPV6_BITS = 24, 48
"""Bits of an address that are kept: the network of a site or a provider, and not a person's address."""


def request_made(agent_id: UUID, jti: str) -> Call:
    """Admits an active agent's token and counts the request. It returns no row if the agent is not active or the token
    *jti* is revoked.
    """
    return Call("usage/record_request", {"agent_id": agent_id, "jti": jti})


@dataclass(frozen=True, slots=True)
class Rejection:
    """A failed authentication in the current request, if there is one.

    :param organization_id: of the agent; ``UNKNOWN_ORGANIZATION`` for a client that nobody registered.
    :param credential: what was sent: ``secret``, ``assertion`` or ``token``.
    :param reason: why it was rejected, in the words of the log, if the database knows nothing more precise. There are
        few: it is a label of a metric.
    :param secret_hash: of the secret, if one was sent.
    """

    organization_id: str
    agent_id: UUID
    credential: str
    reason: str
    secret_hash: bytes | None = None

    def calls(self) -> tuple[Call, Call]:
        """Count it. The first call returns the reason. It is first so that a request that waits for its row locks no
        counter that the organization's tokens need.
        """
        where = {"organization_id": self.organization_id, "agent_id": self.agent_id}
        known = {"reason": self.reason, "secret_hash": self.secret_hash, "network": network_of(remote_address())}
        bounds = {"most_rows": MAX_NETWORKS, "keep_days": KEEP_NETWORKS, "nobody": UNKNOWN_AGENT}
        return (
            Call("usage/record_rejected_network", where | known | bounds),
            Call("usage/record_rejection", where),
        )

    def report(self, reason: str) -> None:
        """Tell the operator: the log, with the client's address, and the metrics. The client does not learn the
        reason, except what is wrong with a DPoP proof.

        :param reason: which the first of :meth:`calls` has returned.
        """
        REJECTIONS.labels(reason).inc()
        organization_id = self.organization_id if self.organization_id != UNKNOWN_ORGANIZATION else None
        agent_id = str(self.agent_id) if self.agent_id != UNKNOWN_AGENT else None
        fields = {"organization": organization_id, "agent": agent_id, "credential": self.credential, "reason": reason}
        if has_request_context():
            # For the line of the request itself.
            g.organization_id, g.agent_id = organization_id, agent_id
            fields["address"] = request.remote_addr or None
        logger.warning("authentication rejected", extra={"fields": fields})


def record_rejection(database: OrganizationDatabase, agent_id: UUID, reason: str = "invalid token") -> None:
    """Count and report that an agent's token was refused, before the response to it is sent."""
    rejection = Rejection(database.organization_id, agent_id, "token", reason)
    [[found], _] = database.run(*rejection.calls())
    rejection.report(found.reason)


def remote_address() -> str:
    """The client's, which a trusted proxy may have sent; empty if there is none, as for a UNIX socket."""
    return (request.remote_addr or "") if has_request_context() else ""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 address; ``unknown`` for anything else."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or IPv6Address(found.packed)
    bits = KEPT_IPV6_BITS if isinstance(found, IPv6Address) else KEPT_IPV4_BITS
    return str(ip_network((found, bits), strict=False))
