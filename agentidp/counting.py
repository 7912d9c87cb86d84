"""Counts admitted and rejected requests, and records the reasons and networks of rejections.

The statements use the function ``sql/functions/count_usage.sql``. An issued token is counted by the statement that
issues it, ``sql/oauth/issue_access_token.sql``, with the function ``sql/functions/count_token.sql``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID

from flask import g, has_request_context, request

from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call
from agentidp.metrics import REJECTIONS

logger = logging.getLogger("agentidp")

UNKNOWN_ORGANIZATION = "org-00000000-0000-0000-0000-000000000000"
"""The organization under which failed authentications of unknown clients are counted, in one row per day."""

UNKNOWN_AGENT = UUID(int=0)

MAX_NETWORKS = 200
"""Maximum number of networks per organization and day with rows of rejections. Further networks share one row."""

KEEP_NETWORKS = 30
"""Days for which the rows of networks with rejections are kept, including the current day."""

KEPT_IPV4_BITS, KEPT_IPV6_BITS = 24, 48
"""Number of bits of a client's address that are stored: the network of a site or provider, but not of a person."""


def build_admission_call(agent_id: UUID, jti: str, issued_at: datetime) -> Call:
    """Return the call that admits an agent's token and counts the request.

    It returns no row if the agent is not active, or if the token with this *jti* is revoked or ended.
    """
    return Call("usage/record_request", {"agent_id": agent_id, "jti": jti, "issued_at": issued_at})


@dataclass(frozen=True, slots=True)
class Rejection:
    """A failed authentication, in the current request if there is one.

    :param organization_id: the agent's organization; ``UNKNOWN_ORGANIZATION`` for an unknown client.
    :param credential: the type of the credential: ``secret``, ``assertion`` or ``token``.
    :param reason: the logged reason, unless the database returns a more precise reason. The number of reasons must be
        small, because they are labels of a metric.
    """

    organization_id: str
    agent_id: UUID
    credential: str
    reason: str
    secret_hash: bytes | None = None

    def calls(self) -> tuple[Call, Call]:
        """Return the calls that count a rejection. The first call returns the reason.

        It comes first, because it may wait for its row. Then no counter that token requests need is locked meanwhile.
        """
        agent = {"organization_id": self.organization_id, "agent_id": self.agent_id}
        network = {"reason": self.reason, "secret_hash": self.secret_hash, "network": network_of(remote_address())}
        limits = {"most_rows": MAX_NETWORKS, "keep_days": KEEP_NETWORKS, "nobody": UNKNOWN_AGENT}
        return Call("usage/record_rejected_network", agent | network | limits), Call("usage/record_rejection", agent)

    def report(self, reason: str) -> None:
        """Log the rejection with the client's address, and count it in the metrics.

        :param reason: the reason that the first of :meth:`calls` returned.
        """
        REJECTIONS.labels(reason).inc()
        organization_id = self.organization_id if self.organization_id != UNKNOWN_ORGANIZATION else None
        agent_id = str(self.agent_id) if self.agent_id != UNKNOWN_AGENT else None
        fields = {"organization": organization_id, "agent": agent_id, "credential": self.credential, "reason": reason}
        if has_request_context():
            # The log line of the whole request gets these ids.
            g.organization_id, g.agent_id = organization_id, agent_id
            fields["address"] = request.remote_addr or None
        logger.warning("authentication rejected", extra={"fields": fields})


def record_rejection(database: OrganizationDatabase, agent_id: UUID, reason: str) -> str:
    """Count and report that an agent's token was refused.

    :returns: the reason, or a more precise reason from the database if the agent or organization is not active.
    """
    rejection = Rejection(database.organization_id, agent_id, "token", reason)
    [[row], _] = database.run(*rejection.calls())
    rejection.report(row.reason)
    return str(row.reason)


def remote_address() -> str:
    """Return the client's address, as a trusted proxy may report it; empty for a client without one (UNIX socket)."""
    return (request.remote_addr or "") if has_request_context() else ""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return the /24 network of an IPv4 address or the /48 network of an IPv6 address; ``unknown`` for other text."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv6Address):
        # Removes the zone by copying the packed address, because a network cannot have a zone.
        ip = ip.ipv4_mapped or IPv6Address(ip.packed)
    bits = KEPT_IPV6_BITS if isinstance(ip, IPv6Address) else KEPT_IPV4_BITS
    return str(ip_network((ip, bits), strict=False))
