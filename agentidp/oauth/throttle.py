"""Failed client authentications are throttled, by client and address. Nothing else is: the right credential always
succeeds.

A throttle is one instant, from which it admits another failure, as the generic cell rate algorithm has it (ITU-T
I.371). A failure that it admits gets 401, any other 429. The instants are in the database, so they hold for
every worker. Which row, or *cell*, is a keyed hash, so that nobody can aim at another's.

The cell comes from the ``client_id`` that was sent. Nothing here knows whether there is such a client, so an unknown
one is throttled like any other.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from agentidp.config import LEEWAY
from agentidp.db.database import Database
from agentidp.db.sql import Call
from agentidp.usage import UNKNOWN_ORGANIZATION, request_rejected

A_MINUTE = 10
"""Failures that a throttle admits: at once after a minute without any, and a minute in the long run."""

INTERVAL = timedelta(minutes=1) / A_MINUTE
"""What one failure takes to be forgotten, and so the longest that a client has to wait."""

LATEST = INTERVAL + 2 * timedelta(seconds=LEEWAY)
"""How far ahead of our clock a throttle may lie: one leeway for our clock, and one for that of the server that wrote
it. What lies further ahead was written by a clock that is wrong."""

CELLS = 2**22
"""They bound the table; two names that share a cell share its throttle."""

NEARBY = CELLS // 1024
"""Cells that a failure looks through for those at rest, to forget them: so at most about 1,000 of these remain,
and none has to be searched for."""

IPV6_PREFIX = 8
"""Bytes of an IPv6 address that count: whoever has one usually has the /64 around it."""


def record_failure(
    database: Database, cell: int, organization_id: str, agent_id: UUID, at: datetime
) -> timedelta | None:
    """Count a failed authentication and let its throttle know, in one transaction and round trip.

    A throttled failure is counted too, but it does not make the throttle last longer.

    :param cell: of the throttle, from :func:`cell_of`.
    :returns: ``None``, or if the failure is throttled, in which time another one will certainly be admitted.
    """
    failure = {"cell": cell, "nearby": NEARBY, "every": INTERVAL, "latest": at + LATEST}
    rejection = request_rejected(agent_id)
    admitted, _, _ = database.of(UNKNOWN_ORGANIZATION, at).run(
        Call("oauth/record_failure", failure),
        # Last, so that whoever waits for a throttle locks no counter that the organization's tokens need.
        Call("database/enter_organization", {"organization_id": organization_id, "durable": False}),
        Call(rejection.name, rejection.parameters | {"organization_id": organization_id}),
    )
    return None if admitted else INTERVAL


def cell_of(secret_key: bytes, client_id: str, remote_address: str | None) -> int:
    """The cell of a client at an address.

    :param secret_key: the instance's.
    :param client_id: as it was sent, whatever it is.
    :param remote_address: the peer's; all that is not an IP address, as behind a UNIX socket, counts as one.
    """
    name = _network(remote_address or "") + client_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, key=_hash_key(secret_key)).digest()
    return int.from_bytes(digest) % CELLS


@lru_cache(maxsize=16)
def _hash_key(secret_key: bytes) -> bytes:
    return hmac.digest(secret_key, b"agentidp throttle by client and address", "sha256")


@lru_cache(maxsize=4096)
def _network(remote_address: str) -> bytes:
    """Sixteen bytes, so that no address and client_id together read like another pair."""
    try:
        address = ip_address(remote_address)
    except ValueError:
        return bytes(16)
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return address.packed[:IPV6_PREFIX].ljust(16, b"\0")
    # The last four bytes are the IPv4 address, whether it was mapped or not.
    return address.packed[-4:].rjust(16, b"\0")
