"""Failed client authentications are throttled, by client and address. Nothing else is: the right credential always
succeeds.

A throttle is a time from which another failure is admitted (generic cell rate algorithm, ITU-T I.371). An admitted
failure gets 401, any other 429. The times are in the database, so all workers share them. The row, or *cell*, of a
client is a keyed hash, so nobody can aim at the cell of another client.

The cell is computed from the ``client_id`` that was sent. This module does not know whether that client exists, so an
unknown one is throttled like any other.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from agentidp.config import LEEWAY
from agentidp.counting import UNKNOWN_ORGANIZATION, Rejection
from agentidp.db.database import Database
from agentidp.db.sql import Call

FAILURES_A_MINUTE = 10
"""Failures that a throttle admits: at once after a minute without any, and a minute in the long run. The audit trail
has as many refused sign-ins of an agent or a person (:func:`admits`)."""

INTERVAL = timedelta(minutes=1) / FAILURES_A_MINUTE
"""The time after which one failure is forgotten. A client never has to wait longer."""

LATEST = INTERVAL + 2 * timedelta(seconds=LEEWAY)
"""How far ahead of our clock a throttle may be: one leeway for our clock, and one for that of the server that wrote it.
A time further ahead was written by a server with a wrong clock."""

CELLS = 2**22
"""The maximum number of rows. Two clients that share a cell share its throttle."""

NEARBY = CELLS // 1024
"""Cells in which each failure looks for unused ones to delete. At most about 1,000 unused cells remain, and no scan of
the whole table is needed."""


class Prefix(NamedTuple):
    """How many bits of an IPv4 and of an IPv6 address count."""

    ipv4: int
    ipv6: int


HOST = Prefix(32, 64)
"""A host usually has a whole /64 of IPv6."""

SITE = Prefix(24, 56)
"""A home or an office usually has a /56 of IPv6, and whoever has several IPv4 addresses often has neighbouring ones."""

INTERVAL_OF_SITE = INTERVAL / 3
"""The same for all addresses of a site together, which several people may share."""


def record_failure(database: Database, cell: int, rejection: Rejection, at: datetime) -> timedelta | None:
    """Count a failed authentication and update its throttle, in one transaction and round trip. Report it.

    A throttled failure is counted too, but it does not make the throttle last longer.

    :param cell: of the throttle, from :func:`cell_of`.
    :returns: if the failure is throttled, the time after which another one is certainly admitted; otherwise ``None``.
    """
    admitted, _, [found], _ = database.of(UNKNOWN_ORGANIZATION, at).run(
        _failure(cell, at),
        # Last, so that a request that waits for a throttle locks no counter that the organization's tokens need.
        Call("database/enter_organization", {"organization_id": rejection.organization_id, "durable": False}),
        *rejection.calls(),
    )
    rejection.report(found.reason)
    return None if admitted else INTERVAL


def admits(database: Database, cell: int, at: datetime, *, every: timedelta = INTERVAL) -> bool:
    """Update a throttle that is about something else than authentication, and counts nothing.

    :param every: the time after which one is forgotten.
    :returns: whether it admits what happens now: at once what a minute has, and one more after each interval.
    """
    [admitted] = database.of(UNKNOWN_ORGANIZATION, at).run(_failure(cell, at, every))
    return bool(admitted)


def is_throttled(database: Database, cells: list[int], at: datetime) -> bool:
    """Whether :func:`admits` would admit nothing now for one of several cells. Updates nothing."""
    return bool(database.of(UNKNOWN_ORGANIZATION, at).fetch("oauth/throttled", cells=cells, latest=at + LATEST))


def _failure(cell: int, at: datetime, every: timedelta = INTERVAL) -> Call:
    return Call("oauth/record_failure", {"cell": cell, "nearby": NEARBY, "every": every, "latest": at + LATEST})


def cell_of(secret_key: bytes, client_id: str, remote_address: str | None, prefix: Prefix = HOST) -> int:
    """The cell of a client at an address.

    :param secret_key: the instance's.
    :param client_id: as it was sent, valid or not.
    :param remote_address: the peer's. Anything but an IP address (the peer of a UNIX socket) counts as one address.
    :param prefix: how much of the address counts.
    """
    name = _network(remote_address or "", prefix) + client_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, key=_hash_key(secret_key)).digest()
    return int.from_bytes(digest) % CELLS


@lru_cache(maxsize=16)
def _hash_key(secret_key: bytes) -> bytes:
    return hmac.digest(secret_key, b"agentidp throttle by client and address", "sha256")


@lru_cache(maxsize=4096)
def _network(remote_address: str, prefix: Prefix) -> bytes:
    """Sixteen bytes, so that no two pairs of address and client_id have the same concatenation."""
    try:
        address = ip_address(remote_address)
    except ValueError:
        return bytes(16)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    ignored = address.max_prefixlen - (prefix.ipv6 if isinstance(address, IPv6Address) else prefix.ipv4)
    return (int(address) >> ignored << ignored).to_bytes(16)
