"""How a command opens its database and its instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentidp.config import Settings
from agentidp.server.runtime import open_instance


@pytest.mark.slow
def test_a_command_beside_another_command_has_the_issuer_of_its_settings(directory: Path) -> None:
    # The file of a server that was killed.
    (directory / "issuer").write_text("http://localhost:3411")
    settings = Settings(data_dir=directory, issuer="https://idp.example.com")
    with open_instance(settings) as first, open_instance(settings) as second:
        assert (first.settings.issuer, second.settings.issuer) == (settings.issuer, settings.issuer)
        assert second.postgres is None
        assert second.settings.database_url == first.settings.database_url
