"""PostgreSQL's settings for an embedded server."""

from collections.abc import Mapping

from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError
from agentidp.db.embedded_postgres.postmaster import PORT

SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",  # compiling costs more than our short queries take
    "max_parallel_workers_per_gather": "0",  # few cores, short queries, and only 64 MB of /dev/shm in Docker
    "huge_pages": "off",  # gain nothing at 128 MB
    "wal_level": "minimal",  # nobody replicates from this server
    "max_wal_senders": "0",
    "max_wal_size": "256MB",  # limits pg_wal, which may grow to 1 GB by default
    # `log` ranks above `error`: a failed statement is the client's problem and is not logged. `terse` leaves
    # out DETAIL, which quotes rows, and the query of a crashed backend. So no statement and no value is ever
    # written to the log, and it grows by a few lines per start.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}
THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The URL depends on these, and so does the promise that nothing listens on TCP.
FIXED = {"listen_addresses": "", "port": str(PORT), "unix_socket_permissions": "0700"}


def configuration(*, durable: bool, overrides: Mapping[str, str]) -> dict[str, str]:
    """The settings that the server starts with, without those in `FIXED`.

    Errors: EmbeddedPostgresError for an override of a setting that must not change.
    """
    settings = SETTINGS | ({} if durable else THROW_AWAY) | dict(overrides)
    for name in {*FIXED, "unix_socket_directories"} & {name.lower() for name in settings}:
        raise EmbeddedPostgresError(f"the setting {name} of the embedded PostgreSQL cannot be changed")
    return settings
