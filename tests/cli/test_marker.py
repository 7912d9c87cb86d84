"""``agentidp marker``."""

from __future__ import annotations

from datetime import timedelta

from agentidp.clock import utc_now
from tests.cli.command import Command


def test_marks_lists_and_deletes(run: Command, agent: str) -> None:
    of = ("--organization", "Acme")
    yesterday, in_two_days = (utc_now().date() + timedelta(days=days) for days in (-1, 2))
    times = ("--from", f"{yesterday}T12:00:00+02:00", "--to", f"{yesterday}T11:00:00Z")
    deployed = run("marker", "create", "deployment", *of, *times, "--agent", "builder", "--note", "release 7")
    # A deployment starts now by default, and a holiday lasts a day.
    now = run.json("marker", "create", "deployment", *of)
    assert now["startsAt"] == now["endsAt"] == now["createdAt"]
    holiday = run("marker", "create", "holiday", *of, "--from", f"{in_two_days}")
    begin, end = (f"{in_two_days + timedelta(days=days)}T00:00:00.000000Z" for days in (0, 1))
    listed = run.json("marker", "list", *of)
    names = ("markerId", "kind", "startsAt", "endsAt", "agentId", "note")
    assert [tuple(marker[name] for name in names) for marker in listed if marker != now] == [
        (holiday, "holiday", begin, end, None, None),
        *[(deployed, "deployment", *(f"{yesterday}T{hour}:00:00.000000Z" for hour in (10, 11)), agent, "release 7")],
    ]
    assert run.asked("marker", "delete", deployed, *of) == (
        f"This deletes the marker of a deployment (release 7) from {yesterday}T10:00:00.000000Z to "
        f"{yesterday}T11:00:00.000000Z. Findings about the time of the marker no longer take the marker into account.\n"
    )
    assert run.asked("marker", "delete", holiday, *of).startswith(f"This deletes the marker of a holiday from {begin} ")
    run("marker", "delete", "--yes", deployed, *of)
    assert [marker["markerId"] for marker in run.json("marker", "list", *of)] == [holiday, now["markerId"]]
