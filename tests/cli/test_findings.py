"""``agentidp findings``."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

from agentidp.clock import utc_now
from agentidp.http.text import text_refusal
from agentidp.services import Services
from tests.cli.command import Command
from tests.conftest import settings_for
from tests.factories import a_finding, make_finding


def test_lists_acknowledges_mutes_and_shows(run: Command, agent: str, acme: str) -> None:
    of, unknown = ("--organization", "Acme"), str(uuid.uuid4())
    # The findings were not evaluated before.
    assert run("findings", "list", *of) == run("findings", "compute", *of) == ""
    services = Services.of(settings_for(run.database_url), utc_now)
    finding_id = str(make_finding(services, acme))
    services.close()
    [cells] = run.cells("findings", "list", *of)
    summary = a_finding(datetime.now(UTC)).summary
    assert [*cells[:5], *cells[6:]] == [finding_id, "ongoing", "warning", "spike", "-", summary, "-", "-"]
    assert [finding["findingId"] for finding in run.json("findings", "list", *of, "--kind", "spike")] == [finding_id]
    for options in (("--state", "ended"), ("--kind", "silence"), ("--agent", "builder")):
        assert run("findings", "list", *of, *options) == ""
    named = (finding_id, *of)
    acknowledged = run.json("findings", "acknowledge", *named, "--note", "mine")
    assert (acknowledged["acknowledgedBy"], acknowledged["note"]) == ("operator", "mine")
    muted = datetime.fromisoformat(run.json("findings", "mute", *named, "--days", "3")["mutedUntil"])
    assert timedelta(days=3, minutes=-5) < muted - utc_now() <= timedelta(days=3)
    until = f"{utc_now() + timedelta(days=2):%Y-%m-%d}"
    assert run("findings", "mute", *named, "--until", until).endswith(f"\t{until}T00:00:00.000000Z")
    assert run("findings", "unmute", *named).endswith("\t-")
    history = json.loads(run("findings", "show", *named))["history"]
    assert [change["change"] for change in history] == ["opened", "acknowledged", "muted", "muted", "unmuted"]
    other = ("--organization", run("organization", "create", "Other"))
    for action in ("show", "acknowledge", "unmute"):
        for id_, whose in ((unknown, of), (finding_id, other)):
            assert run.refused("findings", action, id_, *whose) == f"the organization has no finding {id_}"
    assert run.refused("findings", "acknowledge", *named, "--note", "a\x00") == f"note {text_refusal(chr(0))}"
    past = run.refused("findings", "mute", *named, "--until", "2020-01-01")
    assert past == "until must be in the future, by at most 366 days"
