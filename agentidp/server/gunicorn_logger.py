"""gunicorn's ``logger_class``, a documented setting, which takes a class like ``gunicorn.glogging.Logger``.

Its method ``access`` is not documented. No setting turns the line of a request off once ``logconfig_dict`` is set.
"""

from __future__ import annotations

from gunicorn import glogging


class Logger(glogging.Logger):
    """gunicorn's log without a line for each request, for which it would collect 25 values: ours logs it."""

    def access(self, *_: object) -> None:
        """Log nothing."""
