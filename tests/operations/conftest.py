"""The metrics of the instance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentidp.operations import instance_metrics
from agentidp.operations.instance_metrics import InstanceMetrics
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import Clock


@pytest.fixture
def metrics(services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstanceMetrics]:
    """Return metrics of the services' database before the first reading, with labels for two organizations."""
    monkeypatch.setattr(instance_metrics, "MAX_ORGANIZATIONS", 2)
    made = InstanceMetrics(settings_for(str(services.settings.database_url)), clock)
    yield made
    made.close()
