"""These tests always use the fast path, whatever AGENTIDP_FAST_PATH says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _on() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTIDP_FAST_PATH", "on")
        yield
