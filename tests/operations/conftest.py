"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentidp.operations.instance_metrics import InstanceMetrics
from agentidp.services import Services
from tests.conftest import settings_for
from tests.factories import Clock


@pytest.fixture
def metrics(services: Services, clock: Clock) -> Iterator[InstanceMetrics]:
    """Of the services' database, not read yet; the two largest organizations have a label of their own."""
    made = InstanceMetrics(settings_for(str(services.settings.database_url), metrics_organizations=2), clock)
    yield made
    made.close()
