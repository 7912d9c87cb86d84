"""Deadlines of requests while the database is unreachable."""

from __future__ import annotations

from agentidp.config import EXCHANGE_MARGIN

STATEMENT_TIMEOUT = 1.0


DEADLINE = STATEMENT_TIMEOUT + EXCHANGE_MARGIN
