"""The role as which the service logs in to the embedded PostgreSQL."""

from __future__ import annotations

import contextlib
import secrets
from urllib.parse import urlsplit

import psycopg

from agentidp.db.database import connect
from agentidp.db.sql import load_sql, run_statement

LOGIN_ROLE = "agentidp_login"


def create_service_url(url: str) -> str:
    """Create the service's login role if it is missing, set a new password, and return the service's database URL.

    If an attacker makes a session of the service run ``reset role``, the login role can read and write nothing.

    :param url: the URL of the migrated database, with a superuser.
    """
    password = secrets.token_urlsafe(24)
    with connect(url) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            run_statement(connection, "database/create_login_role")
        psycopg.ClientCursor(connection).execute(load_sql("database/change_login_role"), {"password": password})
    superuser_url = urlsplit(url)
    database_host = superuser_url.netloc.rpartition("@")[2]
    return superuser_url._replace(netloc=f"{LOGIN_ROLE}:{password}@{database_host}").geturl()
