"""Failed client authentications are throttled: by client and address, by client, and by address.

A throttle is a *cell*: a row that holds the instant from which it admits another failure, as the generic cell rate
algorithm has it (ITU-T I.371). A request is throttled where any of its cells admits none, and then its secret counts
for nothing, right or wrong. The rows are in the database, so they hold for every worker; which row is a keyed hash,
so that nobody can aim at another's.

The cells come from the ``client_id`` that was sent. Nothing here knows whether there is such a client, so an unknown
one is throttled like any other.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from ..database import Call, Database
from ..usage import UNKNOWN_ORGANIZATION, request_rejected

A_MINUTE = {"client and address": 10, "client": 100, "address": 600}
"""Failures that each kind of cell admits: at once after a minute without any, and a minute in the long run.

The first is what ends a brute force, and it ends it for one address only, so that it locks nobody else out. The
second bounds what many addresses can do together. The third is high because a whole fleet can share an address.
"""

CELLS = 2**22
"""Cells of a kind. They bound the table; two names that share a cell share its throttle."""

NEARBY = CELLS * len(A_MINUTE) // 1024
"""Cells that a failure looks through for those at rest, to forget them: so about 3,000 of these remain at the most,
where a failure makes three rows, and none has to be searched for."""

IPV6_PREFIX = 8
"""Bytes of an IPv6 address that count: whoever has one usually has the /64 around it."""

_KINDS = {kind: (number, timedelta(minutes=1) / most) for number, (kind, most) in enumerate(A_MINUTE.items())}


@dataclass(frozen=True, slots=True)
class Throttle:
    """The cells that a request counts in where it fails, and how long one failure takes in each to be forgotten."""

    cells: tuple[int, ...] = ()
    intervals: tuple[timedelta, ...] = ()

    @property
    def cells_literal(self) -> str:
        """The cells as PostgreSQL spells an array: psycopg takes 17 µs for a list of three."""
        return f"{{{','.join(map(str, self.cells))}}}"


NO_THROTTLE = Throttle()


def of(secret_key: bytes, client_id: str, remote_address: str | None) -> Throttle:
    """The throttle of a request.

    :param secret_key: the instance's.
    :param client_id: as it was sent, whatever it is.
    :param remote_address: the peer's; what is not an IP address, as behind a UNIX socket, counts nowhere, and the
        client has the one cell that holds for all addresses.
    """
    client = client_id.encode("utf-8", "surrogatepass")
    address = _network(remote_address or "")
    if address is None:
        names = {"client": client}
    else:
        names = {"client and address": address + client, "client": client, "address": address}
    return Throttle(
        tuple(_cell(secret_key, kind, name) for kind, name in names.items()),
        tuple(_KINDS[kind][1] for kind in names),
    )


def record_failure(
    database: Database, throttle: Throttle, organization_id: str, agent_id: UUID, at: datetime
) -> int | None:
    """Count a failed authentication and let its cells know, in one transaction and round trip.

    A throttled failure is counted too, but it does not make the throttle last longer.

    :returns: ``None``, or where the request was throttled the whole seconds until it is worth another try.
    """
    parameters = {
        "organization_id": UNKNOWN_ORGANIZATION,
        "cells": list(throttle.cells),
        "intervals": list(throttle.intervals),
        "at": at,
    }
    _, rows, _, _ = database.run(
        UNKNOWN_ORGANIZATION,
        Call("oauth/hold_throttles", parameters),
        Call("oauth/record_failure", {**parameters, "nearby": NEARBY}),
        # Last, so that whoever waits for a cell holds no counter that the organization's tokens need.
        Call("database/enter_organization", {"organization_id": organization_id, "durable": False}),
        request_rejected(organization_id, agent_id, at),
    )
    return math.ceil(rows[0].wait.total_seconds()) if rows else None


def _cell(secret_key: bytes, kind: str, name: bytes) -> int:
    # A keyed hash like HMAC, at a fifth of its time; three of them are taken at each token request.
    digest = hashlib.blake2b(name, digest_size=8, key=_hash_key(secret_key, kind)).digest()
    # The kinds have cells of their own: a request never meets one twice.
    return int.from_bytes(digest) % CELLS * len(A_MINUTE) + _KINDS[kind][0]


@lru_cache(maxsize=16)
def _hash_key(secret_key: bytes, kind: str) -> bytes:
    return hmac.digest(secret_key, f"agentidp throttle by {kind}".encode(), "sha256")


@lru_cache(maxsize=4096)
def _network(remote_address: str) -> bytes | None:
    try:
        address = ip_address(remote_address)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return address.packed[:IPV6_PREFIX].ljust(16, b"\0")
    # The last four bytes are the IPv4 address, whether it was mapped or not; the length is always the same, so that
    # no address and client_id together read like another pair.
    return address.packed[-4:].rjust(16, b"\0")
