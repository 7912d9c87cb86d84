"""node-oidc-provider in a process of its own: a provider that is certified, and that nobody here has written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentidp.config.oidc import OidcSettings
from tests.factories import PATIENCE, ROOT

CLIENT_SECRET = "a-secret-that-the-provider-knows-too"
SOURCE = ROOT / "tests" / "dashboard" / "oidc_provider"


@contextmanager
def node_provider(directory: Path, port: int, dashboard: str, accounts: dict[str, Any]) -> Iterator[OidcSettings]:
    """Run the provider on the loopback. Without npm and Node, the tests fail.

    :param directory: an empty directory for the package.
    :param dashboard: the address of the dashboard that is the provider's client.
    :param accounts: claims by subject. If ``userinfo`` is true, they are not in the ID token.
    :returns: the settings of AgentIdP.
    """
    shutil.copytree(SOURCE, directory, dirs_exist_ok=True)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(npm, cwd=directory, capture_output=True, text=True, timeout=10 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    client = {
        "client_id": "agentidp",
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [f"{dashboard}/sign-in/oidc/callback"],
        "post_logout_redirect_uris": [f"{dashboard}/sign-in?signed-out"],
    }
    options = json.dumps({"port": port, "clients": [client], "accounts": accounts})
    with subprocess.Popen(
        ["node", "provider.mjs", options], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            issuer = process.stdout.readline().strip()
            assert issuer, process.communicate()[1]
            yield OidcSettings(
                issuer=issuer,
                client_id="agentidp",
                client_secret=CLIENT_SECRET,
                organization_claim="organization",
                role_claim="roles",
                administrators=frozenset({"keepers"}),
                viewers=frozenset({"watchers"}),
            )
        finally:
            process.terminate()
