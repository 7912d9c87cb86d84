"""Which parts the service runs on: the stock ones of gunicorn and Flask, or those of ``agentidp/fast_path``.

Nothing else imports that package, and the service runs without it.
"""

from __future__ import annotations

from typing import NamedTuple

from agentidp.config import Settings
from agentidp.http.application import Application


class Parts(NamedTuple):
    """The application's class, and gunicorn's ``worker_class``."""

    application: type[Application]
    worker: str
    reason: str = ""
    """Why they are the stock ones, for the log; empty if they are not."""


def parts(settings: Settings) -> Parts:
    """What the service runs on with these settings and the installed versions."""
    reason = _reason_for_stock_parts(settings)
    if reason:
        return Parts(Application, "agentidp.http.worker.Worker", reason)
    from agentidp.fast_path.application import FastApplication

    return Parts(FastApplication, "agentidp.fast_path.worker.PollingWorker")


def _reason_for_stock_parts(settings: Settings) -> str:
    if settings.fast_path == "off":
        return "AGENTIDP_FAST_PATH is off"
    try:
        from agentidp import fast_path
    except ImportError:
        return "the fast path is not installed"
    found = fast_path.untested()
    return f"the fast path was not tested with {' and '.join(found)}" if found else ""
