"""Maps a ``client_id`` to the client's organization, which is the first step of authentication."""

from __future__ import annotations

from uuid import UUID

from agentidp.db.database import Database

MAX_CACHED = 100_000
"""Maximum number of clients that a process caches, in about 25 MB."""


class ClientDirectory:
    """A cache of each client's organization, which never changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._organization_ids_by_client: dict[UUID, str] = {}

    def find_organization(self, client_id: UUID) -> str | None:
        """Return the organization of *client_id*, or ``None`` for an unknown client."""
        return self.get_cached_organization(client_id) or self.read_organization(client_id)

    def get_cached_organization(self, client_id: UUID) -> str | None:
        """Return the cached organization of *client_id*, or ``None`` if it is not cached."""
        return self._organization_ids_by_client.get(client_id)

    def read_organization(self, client_id: UUID) -> str | None:
        """Return the organization of *client_id* from the database, and cache it. ``None`` for an unknown client."""
        rows = self._database.fetch_unscoped("oauth/client_organization", client_id=client_id)
        if not rows:
            return None
        if len(self._organization_ids_by_client) >= MAX_CACHED:
            self._organization_ids_by_client.clear()
        self._organization_ids_by_client[client_id] = rows[0].organization_id
        return str(rows[0].organization_id)
