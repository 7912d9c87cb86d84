"""Counts admitted and rejected requests, and records the reasons and networks of rejections."""

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
"""The organization ID of the counters for failed authentications of unknown clients."""

UNKNOWN_AGENT = UUID(int=0)

MAX_NETWORKS = 200
"""Maximum number of networks with their own row of rejections, per organization and day. Other networks share a row."""

KEEP_NETWORKS = 30
"""Number of days, including today, for which the rows of rejections per network are kept."""

KEPT_IPV4_BITS, KEPT_IPV6_BITS = 24, 48
"""Number of leading bits of a client's address that are stored. They identify a network, but not a person."""


def build_admission_call(agent_id: UUID, jti: str, issued_at: datetime) -> Call:
    """Return the database call that admits a request: it checks the agent and the token, and counts the request.

    The statement calls ``admit_request``. This function counts nothing and returns no row if the agent is not active
    or its token with this *jti* was ended.
    """
    return Call("usage/record_request", {"agent_id": agent_id, "jti": jti, "issued_at": issued_at})


@dataclass(frozen=True, slots=True)
class Rejection:
    """A failed authentication of an agent or of an unknown client.

    :param organization_id: the agent's organization; ``UNKNOWN_ORGANIZATION`` for an unknown client.
    :param credential: the type of the refused credential in the log: ``secret``, ``assertion``, ``federated token``,
        ``token``, ``subject token`` or ``grant``.
    :param reason: the reason that this server knows. The database may replace it by a more precise reason. Each reason
        is a label of a metric.
    """

    organization_id: str
    agent_id: UUID
    credential: str
    reason: str
    secret_hash: bytes | None = None

    def build_calls(self) -> tuple[Call, Call]:
        """Return the two database calls that count this rejection. The first call returns the reason."""
        # record_rejection comes last, because it locks a counter for which token requests wait until the commit.
        counter_ids = {"organization_id": self.organization_id, "agent_id": self.agent_id}
        network = find_network(get_client_address())
        rejection_details = {"reason": self.reason, "secret_hash": self.secret_hash, "network": network}
        storage_limits = {"most_rows": MAX_NETWORKS, "keep_days": KEEP_NETWORKS, "nobody": UNKNOWN_AGENT}
        network_call = Call("usage/record_rejected_network", counter_ids | rejection_details | storage_limits)
        return network_call, Call("usage/record_rejection", counter_ids)

    def record(self, database: OrganizationDatabase) -> str:
        """Count and log this rejection in a transaction of its own.

        :returns: the reason, or a more precise reason that the database has found.
        """
        [[reason_row], _] = database.run(*self.build_calls())
        self.report(reason_row.reason)
        return str(reason_row.reason)

    def report(self, reason: str) -> None:
        """Log this rejection with the client's address, and count it in the metrics.

        :param reason: the reason in the result of ``usage/record_rejected_network``.
        """
        REJECTIONS.labels(reason).inc()
        organization_id = self.organization_id if self.organization_id != UNKNOWN_ORGANIZATION else None
        agent_id = str(self.agent_id) if self.agent_id != UNKNOWN_AGENT else None
        fields = {"organization": organization_id, "agent": agent_id, "credential": self.credential, "reason": reason}
        if has_request_context():
            # The log line at the end of the request also shows the ids of the organization and the agent.
            g.organization_id, g.agent_id = organization_id, agent_id
            fields["address"] = request.remote_addr or None
        logger.warning("authentication rejected", extra={"fields": fields})


def record_rejection(database: OrganizationDatabase, agent_id: UUID, reason: str) -> str:
    """Count and log that an agent's token was refused.

    :returns: *reason*, or a more precise reason if the agent or organization is not active.
    """
    return Rejection(database.organization_id, agent_id, "token", reason).record(database)


def get_client_address() -> str:
    """Return the client's IP address; an empty string for a UNIX socket or outside a request."""
    return (request.remote_addr or "") if has_request_context() else ""


@lru_cache(maxsize=4096)
def find_network(ip_text: str) -> str:
    """Return the /24 network of an IPv4 address, the /48 network of an IPv6 address, or ``unknown`` for other text."""
    try:
        ip = ip_address(ip_text)
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv6Address):
        # The packed address lacks the zone of the IPv6 address (``%eth0``), with which ip_network() would fail.
        ip = ip.ipv4_mapped or IPv6Address(ip.packed)
    prefix_length = KEPT_IPV6_BITS if isinstance(ip, IPv6Address) else KEPT_IPV4_BITS
    return str(ip_network((ip, prefix_length), strict=False))
