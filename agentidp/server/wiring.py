"""Chooses the stock classes of gunicorn and Flask, or the classes of ``agentidp/fast_path``.

No other module imports ``agentidp/fast_path``, so the service runs without that package.
"""

from __future__ import annotations

from typing import NamedTuple

from agentidp.config import Settings
from agentidp.http.application import Application


class Classes(NamedTuple):
    """The application's class, and gunicorn's ``worker_class``."""

    application: type[Application]
    worker: str
    reason: str = ""
    """The reason why the stock classes are used, for the log. Empty for the classes of the fast path."""


def choose_classes(settings: Settings) -> Classes:
    """Return the classes of the fast path, or the stock classes if a setting or an installed version requires them."""
    reason = _explain_stock_parts(settings)
    if reason:
        return Classes(Application, "agentidp.http.worker.Worker", reason)
    from agentidp.fast_path.application import FastApplication

    return Classes(FastApplication, "agentidp.fast_path.worker.PollingWorker")


def _explain_stock_parts(settings: Settings) -> str:
    if settings.fast_path == "off":
        return "AGENTIDP_FAST_PATH is off"
    try:
        from agentidp import fast_path
    except ImportError:
        return "the fast path is not installed"
    libraries = fast_path.list_untested_libraries()
    return f"the fast path was not tested with {' and '.join(libraries)}" if libraries else ""
