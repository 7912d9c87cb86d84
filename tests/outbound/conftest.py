"""A receiver on the loopback."""

from __future__ import annotations

from tests.alerts.conftest import receiver

__all__ = ["receiver"]
