"""Provides commands with the settings and the services, and turns errors into readable messages."""

from __future__ import annotations

import contextlib
import logging.config
from collections.abc import Iterator
from typing import Any

import click
import marshmallow as ma
import psycopg

from agentidp.actor import find_operator
from agentidp.cli.output import show_activity
from agentidp.clock import utc_now
from agentidp.config import ConfigurationError, Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.http.errors import ApiError, NotFound, OAuthError, ServiceUnavailable, ValidationError
from agentidp.http.logs import build_logging_config
from agentidp.http.text import printable
from agentidp.server.runtime import open_instance, refuse_without_data
from agentidp.services import Services


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn an error that the user can correct into one printed sentence and exit code 1."""
    try:
        yield
    except (ApiError, ConfigurationError, DatabaseUnavailable, OAuthError, ma.ValidationError, psycopg.Error) as error:
        # The message is escaped, because it may contain names and other text that organizations have chosen.
        raise click.ClickException(printable(_describe_error(error), is_multiline=True)) from None


def _describe_error(error: Exception) -> str:
    match error:
        case DatabaseUnavailable():
            return ServiceUnavailable.message
        case OAuthError():
            return error.description
        case NotFound():
            # Commands that look for objects other than agents catch this error themselves.
            return "there is no such agent"
        case ValidationError():
            return _join_broken_rules(error.details)
        case ma.ValidationError():
            return _join_broken_rules(error.normalized_messages())  # type: ignore[no-untyped-call]
        case ApiError() if error.details:
            return f"{error.message} ({_join_broken_rules(error.details)})"
        case psycopg.Error():
            return f"the database refuses: {error.diag.message_primary or error}"
    return str(error)


def _join_broken_rules(messages_by_field: dict[str, Any]) -> str:
    """Return the invalid fields and the rules that they break as one text, such as ``name must not be empty``."""

    def flatten_rules(field_messages: Any) -> list[str]:
        if isinstance(field_messages, dict):
            return [rule for inner_messages in field_messages.values() for rule in flatten_rules(inner_messages)]
        return [str(rule) for rule in field_messages]

    return "; ".join(
        f"{field_name} {', '.join(dict.fromkeys(flatten_rules(field_messages)))}"
        for field_name, field_messages in messages_by_field.items()
    )


def read_settings() -> Settings:
    """Return the settings from the environment, and configure the log to contain only warnings and errors."""
    settings = Settings.from_environment()
    logging.config.dictConfig(build_logging_config("WARNING", settings.log_format))
    return settings


@contextlib.contextmanager
def open_services(*, creates_database: bool = False, checks_keys: bool = True) -> Iterator[Services]:
    """Prepare the database and the signing keys, and yield the services that a command uses.

    :param creates_database: whether to create the embedded database if it is missing, instead of raising an error.
    :param checks_keys: whether to raise an error if the instance secret does not decrypt the signing keys.
    """
    settings = read_settings()
    if not creates_database:
        refuse_without_data(settings)
    with contextlib.ExitStack() as exit_stack:
        activity = "Preparing the database" if settings.database_url else f"Starting PostgreSQL in {settings.data_dir}"
        with show_activity(activity):
            runtime = exit_stack.enter_context(open_instance(settings, checks_keys=checks_keys))
        if runtime.migrations:
            click.echo(f"Brought the database's schema up to date: {', '.join(runtime.migrations)}.", err=True)
        services = Services.of(runtime.settings, utc_now, actor=find_operator())
        yield exit_stack.enter_context(contextlib.closing(services))
