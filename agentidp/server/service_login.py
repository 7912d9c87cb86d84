"""The role that the service of the embedded PostgreSQL logs in as: no superuser, and a member of one role only."""

from __future__ import annotations

import contextlib
import secrets
from urllib.parse import urlsplit

import psycopg

from agentidp.db.database import connect
from agentidp.db.sql import load_sql

LOGIN_ROLE = "agentidp_login"


def service_url(url: str) -> str:
    """Make the role if it is missing, and give it a new password.

    A session of the service becomes ``agentidp_service``. If somebody gets it to run ``reset role``, it is a role
    that can read and write nothing.

    :param url: of the migrated database, as its superuser.
    :returns: *url* as the role; it contains the password.
    """
    password = secrets.token_urlsafe(24)
    with connect(url) as connection:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            connection.execute(load_sql("database/create_login_role"))
        psycopg.ClientCursor(connection).execute(load_sql("database/change_login_role"), {"password": password})
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{LOGIN_ROLE}:{password}@{host}").geturl()
