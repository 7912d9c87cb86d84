"""What a command needs around it: the settings, the services, and errors that a person can read."""

from __future__ import annotations

import contextlib
import logging.config
from collections.abc import Iterator

import click
import marshmallow as ma
import psycopg

from agentidp import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.http.errors import ApiError, NotFound, OAuthError, ServiceUnavailable
from agentidp.http.logs import logging_config
from agentidp.server.runtime import prepared
from agentidp.services import Services


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the errors that a person can correct into one sentence and exit code 1."""
    try:
        yield
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except DatabaseUnavailable:
        raise click.ClickException(ServiceUnavailable.message) from None
    except (ApiError, OAuthError) as error:
        raise click.ClickException(_sentence(error)) from None
    except ma.ValidationError as error:
        raise click.ClickException(f"the name {error.messages[0]}") from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database refuses: {error.diag.message_primary or error}") from None


def _sentence(error: ApiError | OAuthError) -> str:
    if isinstance(error, OAuthError):
        return error.description
    if isinstance(error, NotFound):
        return "there is no such agent"
    rules = "; ".join(f"{field} {', '.join(map(str, found))}" for field, found in error.details.items())
    return f"{error.message} ({rules})" if rules else error.message


def settings_of_command() -> Settings:
    """The settings in the environment; only warnings and errors are logged.

    :raises ConfigurationError: a setting is wrong.
    """
    settings = Settings.from_environment()
    logging.config.dictConfig(logging_config("WARNING", settings.log_format))
    return settings


@contextlib.contextmanager
def opened() -> Iterator[Services]:
    """The services of a command: a database that is ready, and the keys."""
    with refusals(), prepared(settings_of_command()) as runtime:
        services = Services.of(runtime.settings, utc_now)
        try:
            yield services
        finally:
            services.close()
