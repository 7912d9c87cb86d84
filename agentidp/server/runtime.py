"""Prepares what a command or the service needs: a database, the schema, the instance secret, a signing key.

``agentidp serve`` writes its issuer to the file ``issuer`` in the data directory, so that a command in another terminal
uses the same issuer.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from agentidp.config import DEFAULT_ISSUER, ConfigurationError, Settings
from agentidp.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, find_url
from agentidp.db.migrations import SCHEMA, migrate
from agentidp.jose.key_rotation import ensure_signing_key, has_signing_keys
from agentidp.paths import sync_directory


@dataclass(frozen=True)
class Runtime:
    """The settings of an instance, including its database and its secret.

    :ivar postgres: the embedded PostgreSQL; None if this process does not run one.
    :ivar migrations: the migrations that this process has applied to an existing schema.
    """

    settings: Settings
    postgres: EmbeddedPostgres | None
    migrations: tuple[str, ...] = ()


@contextlib.contextmanager
def open_instance(settings: Settings, *, must_run_server: bool = False, checks_keys: bool = True) -> Iterator[Runtime]:
    """Open the database, bring the schema up to date, and read or create the secret and the first signing key.

    :param must_run_server: whether to fail if another process already runs the embedded server.
    :param checks_keys: whether the secret must decrypt the signing keys. False for commands that replace a lost secret.
    :raises ConfigurationError: a step failed. The message is one sentence for the operator.
    """
    if settings.database_url is not None and settings.secret_key is None:
        raise ConfigurationError(
            "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set if AGENTIDP_DATABASE_URL is"
        )
    with open_database(settings, must_run_server=must_run_server) as runtime:
        settings = runtime.settings
        applied_steps = tuple(migrate(str(settings.database_url)))
        # The steps that fill an empty database are not reported as migrations.
        migrations = () if SCHEMA in applied_steps else applied_steps
        has_keys = has_signing_keys(settings)
        if settings.secret_key is None:
            secret_path = secret_file(settings)
            if checks_keys and has_keys and not secret_path.exists():
                raise ConfigurationError(
                    f"the instance secret {secret_path} is missing, which encrypts the signing keys in the database: "
                    "put your copy there. If it is lost, agentidp keys list and keys revoke replace the keys"
                )
            settings = add_secret_from_file(settings)
        if checks_keys or not has_keys:
            # A wrong secret makes the start fail here. Otherwise only the first token request would fail.
            ensure_signing_key(settings, at=datetime.now(UTC))
        yield Runtime(settings, runtime.postgres, migrations)


@contextlib.contextmanager
def open_database(settings: Settings, *, must_run_server: bool = False) -> Iterator[Runtime]:
    """Yield an instance whose database accepts connections. Without a database URL, start the embedded PostgreSQL.

    :param must_run_server: whether to fail if another process already runs the embedded server.
    :raises ConfigurationError: the database cannot be found or started.
    """
    if settings.database_url is not None:
        yield Runtime(settings, None)
        return
    postgres_home, issuer_file = settings.data_dir / "postgres", settings.data_dir / "issuer"
    postgres = None
    with contextlib.ExitStack() as exit_stack:
        try:
            _make_data_dir(settings.data_dir)
            database_url = None if must_run_server else find_url(postgres_home)
            if database_url is None:
                postgres = exit_stack.enter_context(EmbeddedPostgres(postgres_home, bindir=settings.pg_bindir))
                database_url = postgres.url
                issuer_file.unlink(missing_ok=True)
                if must_run_server:
                    issuer_file.write_text(settings.issuer, encoding="ascii")
            else:
                settings = replace(settings, issuer=_read_running_issuer(settings, issuer_file))
        except EmbeddedPostgresError as error:
            raise ConfigurationError(str(error)) from None
        yield Runtime(replace(settings, database_url=database_url), postgres)


def secret_file(settings: Settings) -> Path:
    """Return the path of the file with the instance secret, which is used if the settings have no secret."""
    return settings.data_dir / "secret_key"


def has_embedded_data(settings: Settings) -> bool:
    """Return whether the data directory contains an embedded database."""
    return (settings.data_dir / "postgres" / "data").exists()


def refuse_without_data(settings: Settings) -> None:
    """Raise ConfigurationError if there is no embedded database and the settings name no other database."""
    if settings.database_url is None and not has_embedded_data(settings):
        raise ConfigurationError(
            f"there is no database in {settings.data_dir}: start agentidp serve, which makes one, or set "
            "AGENTIDP_DATA_DIR to the directory that has yours, or AGENTIDP_DATABASE_URL"
        )


def _read_running_issuer(settings: Settings, issuer_file: Path) -> str:
    """Return the issuer of the running instance. Raise an error if the settings name a different issuer."""
    try:
        running_issuer = issuer_file.read_text(encoding="ascii")
    except FileNotFoundError:  # The server was not started by agentidp serve, the only command that writes the file.
        return settings.issuer
    if running_issuer != settings.issuer != DEFAULT_ISSUER:
        raise ConfigurationError(
            f"the instance that runs on {settings.data_dir} is {running_issuer}, not {settings.issuer}: "
            "unset AGENTIDP_ISSUER and PORT, or set AGENTIDP_DATA_DIR to the other instance's"
        )
    return running_issuer


def _make_data_dir(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(f"the data directory {path} cannot be written to: set AGENTIDP_DATA_DIR to another")


def add_secret_from_file(settings: Settings) -> Settings:
    """Return the settings with the secret from the data directory, which the first process creates.

    :raises ConfigurationError: the file cannot be created or read.
    """
    secret_path = secret_file(settings)
    try:
        if not secret_path.exists():
            # A draft is written first, so that no process ever reads an incomplete secret, even after a crash.
            with tempfile.NamedTemporaryFile("w", dir=secret_path.parent, prefix=f"{secret_path.name}.") as draft_file:
                draft_file.write(secrets.token_urlsafe(48))
                draft_file.flush()
                os.fsync(draft_file.fileno())
                # os.link() fails if another process has just created a secret. All processes then use that secret.
                with contextlib.suppress(FileExistsError):
                    os.link(draft_file.name, secret_path)
            sync_directory(secret_path.parent)
        return replace(settings, secret_key=secret_path.read_text(encoding="ascii").strip().encode())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the instance secret {secret_path} cannot be read: {error}") from None
