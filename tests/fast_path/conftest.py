"""These tests always use the fast path, whatever AGENTIDP_FAST_PATH says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from agentidp import create_app
from tests.conftest import settings_for


@pytest.fixture(scope="module", autouse=True)
def _on() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTIDP_FAST_PATH", "on")
        yield


@pytest.fixture(scope="module")
def wired_shared_app(_on: None) -> Flask:
    """The application without services, on the fast path."""
    return create_app(settings_for("postgresql:///none"))
