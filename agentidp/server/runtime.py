"""What a command or a server needs before it can work: a database, the instance secret, the schema.

The file ``issuer`` in the data directory contains the issuer of the ``agentidp serve`` that runs there, so that a
command in another terminal finds it.
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
from agentidp.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_url
from agentidp.db.migrations import migrate
from agentidp.jose.key_rotation import ensure_signing_key, has_signing_keys


@dataclass(frozen=True)
class Runtime:
    """Settings that name a database and a secret, and the embedded server if this process runs it."""

    settings: Settings
    postgres: EmbeddedPostgres | None


@contextlib.contextmanager
def prepared(settings: Settings, *, serve: bool = False, checks_keys: bool = True) -> Iterator[Runtime]:
    """Find or start the database, bring the schema up to date, read or create the secret, create the first key.

    :param serve: this process must run the embedded server itself: fail if another one does.
    :param checks_keys: whether the secret must decrypt the signing keys. Whoever has lost it lists and revokes them.
    :raises ConfigurationError: with one sentence for the operator.
    """
    if settings.database_url is not None and settings.secret_key is None:
        raise ConfigurationError(
            "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set if AGENTIDP_DATABASE_URL is"
        )
    with located(settings, serve=serve) as runtime:
        settings = runtime.settings
        migrate(str(settings.database_url))
        has_keys = has_signing_keys(settings)
        if settings.secret_key is None:
            path = secret_file(settings)
            if checks_keys and has_keys and not path.exists():
                raise ConfigurationError(
                    f"the instance secret {path} is missing, which encrypts the signing keys in the database: put the "
                    "one that you kept there. If it is lost, agentidp keys list and keys revoke replace the keys"
                )
            settings = replace(settings, secret_key=instance_secret(path))
        if checks_keys or not has_keys:
            # A wrong secret is found here and not at the first token.
            ensure_signing_key(settings, at=datetime.now(UTC))
        yield Runtime(settings, runtime.postgres)


@contextlib.contextmanager
def located(settings: Settings, *, serve: bool = False) -> Iterator[Runtime]:
    """Find or start the database, and do nothing to what is in it.

    :param serve: as for :func:`prepared`.
    :raises ConfigurationError: with one sentence for the operator.
    """
    if settings.database_url is not None:
        yield Runtime(settings, None)
        return
    home, issuer_file = settings.data_dir / "postgres", settings.data_dir / "issuer"
    postgres = None
    with contextlib.ExitStack() as stack:
        try:
            make_data_dir(settings.data_dir)
            url = None if serve else running_url(home)
            if url is None:
                postgres = stack.enter_context(EmbeddedPostgres(home, bindir=settings.pg_bindir))
                url = postgres.url
                issuer_file.unlink(missing_ok=True)
                if serve:
                    issuer_file.write_text(settings.issuer, encoding="ascii")
            else:
                settings = replace(settings, issuer=_running_issuer(settings, issuer_file))
        except EmbeddedPostgresError as error:
            raise ConfigurationError(str(error)) from None
        yield Runtime(replace(settings, database_url=url), postgres)


def secret_file(settings: Settings) -> Path:
    """Where the instance secret of the embedded database is, unless the settings hold one."""
    return settings.data_dir / "secret_key"


def has_embedded_data(settings: Settings) -> bool:
    """Whether the data directory contains a database."""
    return (settings.data_dir / "postgres" / "data").exists()


def refuse_without_data(settings: Settings) -> None:
    """What only reads or changes something finds nothing in a new database, so it makes none.

    :raises ConfigurationError: there is no embedded database, and the settings name no other.
    """
    if settings.database_url is None and not has_embedded_data(settings):
        raise ConfigurationError(
            f"there is no database in {settings.data_dir}: start agentidp serve, which makes one, or set "
            "AGENTIDP_DATA_DIR to the directory that has yours, or AGENTIDP_DATABASE_URL"
        )


def _running_issuer(settings: Settings, issuer_file: Path) -> str:
    """The issuer of the instance that runs on the data directory: a token of any other would be refused there.

    :raises ConfigurationError: the settings name another one.
    """
    try:
        running = issuer_file.read_text(encoding="ascii")
    except FileNotFoundError:  # a command runs the server, and only for itself
        return settings.issuer
    if running != settings.issuer != DEFAULT_ISSUER:
        raise ConfigurationError(
            f"the instance that runs on {settings.data_dir} is {running}, not {settings.issuer}: "
            "unset AGENTIDP_ISSUER and PORT, or set AGENTIDP_DATA_DIR to the other instance's"
        )
    return running


def make_data_dir(path: Path) -> None:
    """Make the data directory if it is missing.

    :raises ConfigurationError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        usable = os.access(path, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"the data directory {path} cannot be written to: set AGENTIDP_DATA_DIR to one that can"
        )


def instance_secret(path: Path) -> bytes:
    """The secret in *path*, created by the first call; of two processes at once one creates it.

    :raises ConfigurationError: it exists and cannot be read.
    """
    try:
        if not path.exists():
            # Made complete beside it, then linked: it is never seen half-written, not even after a crash.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}.") as draft:
                draft.write(secrets.token_urlsafe(48))
                draft.flush()
                os.fsync(draft.fileno())
                # It fails if another process was first.
                with contextlib.suppress(FileExistsError):
                    os.link(draft.name, path)
            directory = os.open(path.parent, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        return path.read_text(encoding="ascii").strip().encode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the instance secret {path} cannot be read: {error}") from None
