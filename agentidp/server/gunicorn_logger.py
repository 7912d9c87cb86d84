"""The class for gunicorn's documented setting ``logger_class``.

Its method ``access`` is not documented, but no setting turns off the access log once ``logconfig_dict`` is set.
"""

from __future__ import annotations

from gunicorn import glogging


class Logger(glogging.Logger):
    """gunicorn's logger without its access log, because the service logs each request itself."""

    def access(self, *_: object) -> None:
        """Log nothing."""
