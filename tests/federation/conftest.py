"""An issuer over https whose certificate is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.federation.https_issuer import HttpsIssuer, https_issuer


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsIssuer]:
    """Run an issuer that publishes its keys."""
    with https_issuer(tmp_path) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
        yield running
