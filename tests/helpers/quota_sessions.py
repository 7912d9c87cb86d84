"""Sets quotas on an open connection."""

from __future__ import annotations

from uuid import UUID

import psycopg

from agentidp.db.sql import load_sql

ENTER = "select set_config('agentidp.organization_id', %(organization_id)s, true)"


SET = (
    "insert into quotas (organization_id, agent_id, quota_window, tokens, is_enforced, created_at, updated_at) "
    "values (%(organization_id)s, %(agent_id)s, %(window)s, %(tokens)s, %(is_enforced)s, now(), now()) "
    "on conflict (organization_id, agent_id, quota_window) do update set tokens = excluded.tokens"
)


MARK = load_sql("quotas/mark_quotas")


def set_quota(
    url: str, organization_id: str, holder: UUID, window: str, tokens: int, *, is_enforced: bool = True
) -> None:
    """Set a quota in a transaction of its own."""
    with psycopg.connect(url) as connection:
        values = {"organization_id": organization_id, "agent_id": holder, "window": window, "tokens": tokens}
        values |= {"is_enforced": is_enforced}
        for statement in (ENTER, SET, MARK):
            connection.execute(statement.encode(), values)
