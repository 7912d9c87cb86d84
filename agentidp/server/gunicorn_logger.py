"""gunicorn's ``logger_class``."""

from __future__ import annotations

from gunicorn import glogging


class Logger(glogging.Logger):
    """gunicorn's log without a line for each request, for which it would collect 25 values: ours logs it."""

    def access(self, *_: object) -> None:
        """Log nothing."""
