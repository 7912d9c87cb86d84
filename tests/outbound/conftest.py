"""A receiver on the loopback."""

from __future__ import annotations

from tests.alerts.conftest import receiver, tls_receiver

__all__ = ["receiver", "tls_receiver"]
