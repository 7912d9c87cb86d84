"""Throttle failed client authentications by client and address. The right credential always succeeds.

A throttle is the time from which another failure is admitted (generic cell rate algorithm, ITU-T I.371). Its number,
the *cell*, is a keyed hash of the ``client_id`` and the address, so nobody can aim at the cell of another client.
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

MAX_FAILURES_PER_MINUTE = 10
"""Maximum failures per minute that a throttle admits. Also the maximum refused sign-ins per minute that are audited for
an agent or a person."""

INTERVAL = timedelta(minutes=1) / MAX_FAILURES_PER_MINUTE
"""Time until a throttle forgets one failure, which is the longest time that a client must wait."""

LATEST = INTERVAL + 2 * timedelta(seconds=LEEWAY)
"""Maximum time until a throttle admits a failure. A later instant is ignored, because a wrong clock has set it."""

CELLS = 2**22
"""Number of throttles (cells). Clients in the same cell share a throttle."""

NEARBY = CELLS // 1024
"""When a failure is counted in a cell, the unused rows of this number of next higher cells are deleted."""


class Prefix(NamedTuple):
    """Lengths in bits of the network prefixes whose addresses share a throttle."""

    ipv4: int
    ipv6: int


HOST = Prefix(32, 64)
"""Prefix lengths for one throttle per host. A host usually has an IPv6 prefix of 64 bits."""

NETWORK = Prefix(24, 56)
"""Prefix lengths for one throttle per home or office, whose addresses usually share a prefix."""

INTERVAL_OF_NETWORK = INTERVAL / 3
"""Time until the throttle of a network forgets one failure. It is short, because several people may share a network."""


def record_failure(
    database: Database, throttle_cell: int, rejection: Rejection, at: datetime
) -> tuple[str, timedelta | None]:
    """Count and log a failed authentication and update its throttle, in one round trip.

    :returns: the logged reason; and the time until the next failure is admitted, ``None`` if this failure is admitted.
    """
    # The rows of all throttles belong to UNKNOWN_ORGANIZATION, because a throttle is read before the client's
    # organization is known. The second call enters the organization whose counters count the failure.
    admitted_rows, _, [failure_row], _ = database.of(UNKNOWN_ORGANIZATION, at).run(
        _build_failure_call(throttle_cell, at),
        # The counters come after the throttle, so that no transaction locks counters while it waits for a throttle.
        Call("database/enter_organization", {"organization_id": rejection.organization_id, "durable": False}),
        *rejection.build_calls(),
    )
    rejection.report(failure_row.reason)
    return failure_row.reason, None if admitted_rows else INTERVAL


def admit_event(database: Database, throttle_cell: int, at: datetime, *, every: timedelta = INTERVAL) -> bool:
    """Count an event in a throttle for the time *every*. Return whether the throttle admits the event."""
    [admitted_rows] = database.of(UNKNOWN_ORGANIZATION, at).run(_build_failure_call(throttle_cell, at, every))
    return bool(admitted_rows)


def is_throttled(database: Database, throttle_cells: list[int], at: datetime) -> bool:
    """Return whether one of the throttles with these numbers refuses events now. No event is counted."""
    return bool(
        database.of(UNKNOWN_ORGANIZATION, at).fetch("oauth/throttled", cells=throttle_cells, latest=at + LATEST)
    )


def _build_failure_call(throttle_cell: int, at: datetime, every: timedelta = INTERVAL) -> Call:
    return Call(
        "oauth/record_failure", {"cell": throttle_cell, "nearby": NEARBY, "every": every, "latest": at + LATEST}
    )


def compute_throttle_cell(secret_key: bytes, client_id: str, remote_address: str | None, prefix: Prefix = HOST) -> int:
    """Return the number of the throttle (the cell) for a ``client_id``, valid or not, at an IP address.

    :param client_id: any text that names what is throttled.
    :param remote_address: ``""`` for a client without an address; ``None`` for a throttle of all addresses together,
        which no client at an address can reach by its ``client_id``.
    """
    masked_address = b"" if remote_address is None else _mask_address(remote_address, prefix)
    throttle_key = masked_address + client_id.encode("utf-8", "surrogatepass")
    key_digest = hashlib.blake2b(throttle_key, digest_size=8, key=_hash_key(secret_key)).digest()
    return int.from_bytes(key_digest) % CELLS


@lru_cache(maxsize=16)
def _hash_key(secret_key: bytes) -> bytes:
    return hmac.digest(secret_key, b"agentidp throttle by client and address", "sha256")


@lru_cache(maxsize=4096)
def _mask_address(remote_address: str, prefix: Prefix) -> bytes:
    # The result always has 16 bytes, so that different pairs of network and client_id never make the same throttle_key.
    try:
        parsed_ip = ip_address(remote_address)
    except ValueError:
        return bytes(16)
    if isinstance(parsed_ip, IPv6Address):
        parsed_ip = parsed_ip.ipv4_mapped or parsed_ip
    ignored_bits = parsed_ip.max_prefixlen - (prefix.ipv6 if isinstance(parsed_ip, IPv6Address) else prefix.ipv4)
    return (int(parsed_ip) >> ignored_bits << ignored_bits).to_bytes(16)
