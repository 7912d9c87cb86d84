"""The client directory: it maps a ``client_id`` to its organization, which is where authentication begins."""

from __future__ import annotations

from uuid import UUID

from agentidp.db.database import Database

MAX_CACHED = 100_000
"""Clients that a process remembers, about 25 MB."""


class ClientDirectory:
    """Caches the organizations of clients, which never change. It does not cache that a client is unknown."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[UUID, str] = {}

    def organization_of(self, client_id: UUID) -> str | None:
        """The organization of *client_id*, or ``None`` for an unknown client."""
        return self.remembered(client_id) or self.look_up(client_id)

    def remembered(self, client_id: UUID) -> str | None:
        """The organization of *client_id*, or ``None`` if only :meth:`look_up` can tell."""
        return self._known.get(client_id)

    def look_up(self, client_id: UUID) -> str | None:
        """Query the database, even if the client is cached."""
        rows = self._database.fetch_unscoped("oauth/client_organization", client_id=client_id)
        if not rows:
            return None
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[client_id] = rows[0].organization_id
        return str(rows[0].organization_id)
