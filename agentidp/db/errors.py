"""Errors of the database layer."""

from __future__ import annotations


class DatabaseUnavailable(Exception):
    """The database is unreachable, exhausted or too slow, or this server's clock is wrong. The message is the reason.

    Nothing was changed: there was no connection, or the database reported an error and rolled the transaction back.
    """


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost, or the database did not answer. The transaction may or may not have been committed."""


def in_one_line(error: Exception) -> str:
    """Return an error's message in one line, for the log."""
    return " ".join(str(error).split())
