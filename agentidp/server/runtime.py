"""What a command or a server needs before it can work: a database, the instance secret, the schema."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from agentidp.config import ConfigurationError, Settings
from agentidp.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, running_url
from agentidp.db.migrations import migrate
from agentidp.jose.key_rotation import ensure_signing_key


@dataclass(frozen=True)
class Runtime:
    """Settings that name a database and a secret, and the embedded server where this process runs it."""

    settings: Settings
    postgres: EmbeddedPostgres | None


@contextlib.contextmanager
def prepared(settings: Settings, *, serve: bool = False) -> Iterator[Runtime]:
    """Find or start the database, find or make the instance secret, bring the schema up to date, make the first key.

    :param serve: the embedded server must be this process's own: fail where another runs it.
    :raises ConfigurationError: with one sentence for the operator.
    """
    with contextlib.ExitStack() as stack:
        postgres = None
        if settings.database_url is None:
            home = settings.data_dir / "postgres"
            try:
                make_data_dir(settings.data_dir)
                url = None if serve else running_url(home)
                if url is None:
                    postgres = stack.enter_context(EmbeddedPostgres(home, bindir=settings.pg_bindir))
                    url = postgres.url
            except EmbeddedPostgresError as error:
                raise ConfigurationError(str(error)) from None
            secret = settings.secret_key or instance_secret(settings.data_dir / "secret_key")
            settings = replace(settings, database_url=url, secret_key=secret)
        elif settings.secret_key is None:
            raise ConfigurationError(
                "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set where AGENTIDP_DATABASE_URL is"
            )
        assert settings.database_url is not None  # noqa: S101 - set in either branch
        migrate(settings.database_url)
        # A wrong secret is found here and not at the first token.
        ensure_signing_key(settings, at=datetime.now(UTC))
        yield Runtime(settings, postgres)


def make_data_dir(path: Path) -> None:
    """Make the data directory where it is missing.

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
    """The secret in *path*, made at the first call; of two processes at once one makes it.

    :raises ConfigurationError: it is there and cannot be read.
    """
    try:
        if not path.exists():
            # Made complete beside it, then linked: it is never seen half-written, not even after a crash.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}.") as draft:
                draft.write(secrets.token_urlsafe(48))
                draft.flush()
                os.fsync(draft.fileno())
                # It fails where another process was first.
                with contextlib.suppress(FileExistsError):
                    os.link(draft.name, path)
            directory = os.open(path.parent, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        return path.read_text(encoding="ascii").strip().encode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the instance secret {path} cannot be read: {error}") from None
