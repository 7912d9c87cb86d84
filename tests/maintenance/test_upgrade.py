"""A database as release 0.2.0 leaves it is brought to the newest schema, with everything that is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentidp import create_app
from agentidp.db.migrations import migrate, steps
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.conftest import settings_for
from tests.factories import usage_sums
from tests.maintenance.conftest import rows_of, schema, superusers

BACKUP = Path(__file__).with_name("release_0_2_0.dump")
"""A backup that release 0.2.0 made on PostgreSQL 15: two organizations with an agent each, three and five tokens, and
rows in every table. The agents' secrets are :data:`SECRET`; the instance secret is that of the tests.
"""

ORGANIZATION = "org-ef32dcab-a4fc-4fe6-bc22-21eeef73ec6c"
AGENT = "a7bb8aed-e442-4926-b84c-7891530e98f5"
SECRET = "the-secret-of-an-agent-of-release-0.2.0"
ROWS = {
    "agent_usage_daily": 2,
    "agents": 2,
    "alert_deliveries": 2,
    "alert_targets": 2,
    "audit_events": 7,
    "audit_heads": 3,
    "clients": 2,
    "credentials": 4,
    "finding_changes": 2,
    "finding_evaluations": 2,
    "finding_mutes": 2,
    "findings": 2,
    "markers": 2,
    "organizations": 2,
    "rejected_networks": 2,
    "resource_identifiers": 2,
    "resource_servers": 2,
    "revoked_tokens": 2,
    "signing_keys": 1,
    "throttles": 2,
    "usage_daily": 2,
    "usage_imports": 2,
    "usage_monthly": 2,
    "used_identifiers": 2,
}
"""How many of each table."""


@WITHOUT_CITUS
@pytest.mark.usefixtures("quiet")
def test_a_database_of_release_0_2_0_gets_the_newest_schema_and_keeps_its_rows(
    managed_url: str, other_server: str, empty_database_url: str
) -> None:
    printed = Command(managed_url)("restore", str(BACKUP))
    assert re.match(r"Restored 2 organizations, 2 agents and 8 tokens, from the backup of 2026-11-28T\S+Z\.\n", printed)
    since = [step.name for step in steps()[1:]]
    assert printed.endswith(f"The schema was brought up to date: {', '.join(since)}.")
    owner = superusers(managed_url, other_server)
    rows = rows_of(owner)
    assert len([row for row in rows.pop("schema_migrations") if row < "(0029"]) == 28
    # The restore is recorded.
    expected = ROWS | {"audit_events": ROWS["audit_events"] + 1}
    assert {table: len(rows[table]) for table in ROWS} == expected
    assert migrate(managed_url) == []

    migrate(empty_database_url)
    assert schema(owner) == schema(empty_database_url)

    app = create_app(settings_for(managed_url))
    try:
        form = {"grant_type": "client_credentials", "client_id": AGENT, "client_secret": SECRET}
        assert app.test_client().post("/api/v1/token", data=form).status_code == 200
    finally:
        app.extensions["agentidp"].close()
    sums = usage_sums(owner, ORGANIZATION)
    assert sums["tokens"] == sums["agent_tokens"] == 4
    # The three tokens of the release before are not attributed.
    assert sums["credential_tokens"] == 1
