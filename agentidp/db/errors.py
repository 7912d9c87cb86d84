"""What the database layer raises when a request cannot be carried out."""

from __future__ import annotations


class DatabaseUnavailable(Exception):
    """The database is unreachable, exhausted or too slow, or this server's clock is wrong. The text is the reason.

    What was asked of it was certainly not done: there was no connection, or the database itself reported an error and
    rolled the transaction back.
    """


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost, or no answer came in time, when the transaction may have been committed."""
