"""What each fault may cost, and why. A row of the table is a test of ``test_faults.py``."""

from __future__ import annotations

from dataclasses import dataclass

from agentidp.config import EXCHANGE_MARGIN

STATEMENT_TIMEOUT = 2.0
"""Seconds of AGENTIDP_STATEMENT_TIMEOUT of the rig's servers, which may differ from the default."""

POOL_TIMEOUT = 5.0
"""Seconds of AGENTIDP_POOL_TIMEOUT of the rig's servers."""

DETECTION = STATEMENT_TIMEOUT + EXCHANGE_MARGIN + 1
"""Seconds until a request to a silent database has a response: statement_timeout, the margin of an exchange, and one
second for a busy machine. From then on, the database is known to be unreachable."""

QUICK = 0.25
"""Maximum 99th percentile of the seconds until a 503 while the database is known to be unreachable. A quiet machine
needs less than 0.02."""

CLIENTS = 8
"""Number of clients that request tokens at the same time. A client sends one request after the other."""

CLIENT_TIMEOUT = 15.0
"""Seconds after which a client of the rig gives up. Longer than any bound, so that the table shows by how much a
response was late."""


@dataclass(frozen=True)
class Bound:
    """The limits of a row, in addition to those of every row: no token lost or counted twice, no jti twice, no 500.

    :param longest: maximum seconds until a response, from the beginning of the fault.
    :param reason: the reason for these limits.
    :param recovery: seconds from the end of the fault to the end of the last response that still failed.
    :param known_after: seconds after which the database is known to be unreachable, so that each 503 must be
        immediate; ``None`` if the database stays reachable.
    :param unknown: maximum number of requests whose outcome the client does not know: those that are running when the
        fault begins, and as many again if connections are lost one after the other.
    :param fails: whether requests must fail, because otherwise the row tests nothing; ``None`` if some may fail.
    """

    longest: float
    reason: str
    recovery: float = 5.0
    known_after: float | None = None
    unknown: int = 2 * CLIENTS
    fails: bool | None = True


BOUNDS = {
    "Citus: worker killed": Bound(
        DETECTION, "connections to it end at once, and then it refuses at once", recovery=10.0
    ),
    "Citus: worker killed, organization of another": Bound(
        10.0, "the other worker goes on; starting a worker again keeps both cores busy", unknown=0, fails=False
    ),
    "Citus: worker added and shards moved": Bound(
        DETECTION, "a shard's writes wait while it is copied, as long as statement_timeout allows", fails=None
    ),
    "database killed": Bound(3.0, "connections end at once, and then a server refuses at once", known_after=1.0),
    "database restarted": Bound(3.0, "three of them; connections end at once", unknown=3 * CLIENTS, fails=None),
    "database frozen": Bound(
        DETECTION, "nothing answers: the deadline of the server's side ends the wait", known_after=DETECTION
    ),
    "counters locked": Bound(
        2 * STATEMENT_TIMEOUT + 1,
        "statement_timeout ends the wait, and that is certain; one worker may have all nine connections and has eight "
        "threads, so a request waits for one other at most",
        unknown=0,
    ),
    "disk full": Bound(DETECTION, "PostgreSQL refuses the row, or ends when its log cannot grow", recovery=8.0),
    "failing trigger": Bound(3.0, "each statement that fails is answered at once", unknown=0),
    "standby killed": Bound(
        3.0, "connections end at once, and the primary serves the reads meanwhile", unknown=0, fails=False
    ),
    "standby promoted": Bound(
        DETECTION, "connections end at once; the URL names both servers, and one that only reads is no primary"
    ),
    "worker killed": Bound(
        3.0,
        "the other worker goes on; what the killed one had is lost to its clients; two of them",
        unknown=3 * CLIENTS,
    ),
    "HUP": Bound(
        DETECTION, "gunicorn finishes what it has; a kept-alive connection may end as a request is sent", fails=False
    ),
    "TERM and start": Bound(DETECTION, "a client whose connection is refused knows that nothing was sent"),
    "clock 8 s ahead": Bound(
        10.0, "less than the leeway of 10 s; libfaketime slows the second server", unknown=0, fails=False
    ),
    "clock 8 s behind": Bound(
        10.0, "less than the leeway of 10 s; libfaketime slows the second server", unknown=0, fails=False
    ),
    "clock 45 s ahead": Bound(3.0, "the healthy server's clients do not notice", unknown=0, fails=False),
    "clock 1 h behind": Bound(3.0, "the healthy server's clients do not notice", unknown=0, fails=False),
    "two rotations": Bound(3.0, "keys are published before they sign", unknown=0, fails=False),
    "upgrade under load": Bound(
        3.0, "a migration waits two seconds for a table at most, and tokens behind it as long", unknown=0, fails=False
    ),
    "four on an empty database": Bound(DETECTION, "they have started before the load begins", unknown=0, fails=False),
    "embedded database killed": Bound(
        DETECTION, "the launcher starts it again, which is part of the recovery", recovery=10.0
    ),
}
