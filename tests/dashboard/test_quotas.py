"""The page of quotas, those of an agent on its page, and how they are set and removed there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from flask.testing import FlaskClient

from agentidp.dashboard.agents import PAGE_SIZE
from agentidp.registry import quotas as registry
from agentidp.registry.agents import add_agent
from agentidp.registry.quotas import ORGANIZATION
from agentidp.services import Services
from tests.citus import WATCHES_THE_COORDINATOR
from tests.conftest import Cast
from tests.dashboard.conftest import Page, led_to, post, refusal, with_session
from tests.factories import NOON, PATIENCE, Agent, Api, Clock, wait_until

PATH = "/dashboard/quotas"
NIL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def url(services: Services) -> str:
    """The URL of the database."""
    return str(services.settings.database_url)


def quotas(client: FlaskClient, agent: Agent, *, own: bool = False) -> dict[str, tuple[int, bool]]:
    """Return (tokens, whether enforced) by window for the agent if *own*, otherwise for its organization."""
    listed = Api(client, agent, scope="agents:read").get(f"agents/{agent.agent_id}/quotas" if own else "quotas").json
    return {quota["window"]: (quota["tokens"], quota["enforce"]) for quota in listed["data"]}


def put(client: FlaskClient, agent: Agent, window: str, tokens: int, *, own: bool = True, enforce: bool = True) -> None:
    """Set a quota by the API."""
    path = f"agents/{agent.client_id}/quotas" if own else "quotas"
    assert Api(client, agent).put(f"{path}/{window}", {"tokens": tokens, "enforce": enforce}).status_code == 200


def test_shows_of_each_quota_what_is_used_left_and_refused_and_when_it_ends(
    signed_in: FlaskClient, cast: Cast, clock: Clock
) -> None:
    acme = cast.acme
    shown = Page(signed_in.get(PATH))
    assert "There is no quota, so no token is refused by a quota." in shown.text
    idle = acme.colleague("idle")
    acme.count(NOON - timedelta(hours=1), tokens=3)
    put(signed_in, acme, "day", 4)
    put(signed_in, acme, "month", 99, enforce=False)
    put(signed_in, acme, "day", 5, own=False, enforce=False)
    put(signed_in, acme, "month", 1, own=False, enforce=False)
    assert post(signed_in, f"/dashboard/agents/{idle.agent_id}/quotas/hour/edit", tokens="1234567").status_code == 303
    assert [Api(signed_in, acme).token().status_code for _ in range(2)] == [200, 429]
    day, month = "day until Thu 16 Apr, 00:00", "month until Fri 1 May, 00:00"
    hour = "hour until Wed 15 Apr, 13:00"
    actions, soon = "Change Remove", "at this pace used up Wed 15 Apr, 15:00"
    page = Page(signed_in.get(PATH))
    assert page.table("Quotas") == [
        ["the organization", month, "400 % (4 of 1)", "would refuse 1 beyond it", actions],
        ["builder", day, "100 % (4 of 4)", "refuses 1 refused", actions],
        ["the organization", day, "80 % (4 of 5)", f"nearly used {soon}", actions],
        ["builder", month, "4 % (4 of 99)", "only counts", actions],
        ["idle", hour, "0 % (0 of 1,234,567)", "only counts", actions],
    ]
    assert "1 quota refuses tokens now" in page.words
    for show, whose in (("refusing", ["builder"]), ("near", ["the organization", "builder", "the organization"])):
        assert [row[0] for row in Page(signed_in.get(f"{PATH}?show={show}")).table("Quotas")] == whose
    assert f"/dashboard/agents/{acme.agent_id}" in page.links
    # The mark of 100 % is where the quota ends, if more than that is used.
    assert [path["d"] for path in page.all("path") if path["class"] != "track"][:4] == [
        "M0 2h100.0v8H0z",
        "M25.0 0v12",
        "M0 2h100.0v8H0z",
        "M100.0 0v12",
    ]
    clock.now = NOON + timedelta(days=1)
    with_session(signed_in, acme)
    rows = {(row[0], row[1].split()[0]): row[2:4] for row in Page(signed_in.get(PATH)).table("Quotas")}
    assert rows["builder", "day"] == ["0 % (0 of 4)", "enforced"]
    assert rows["the organization", "month"] == ["400 % (4 of 1)", "would refuse 1 beyond it"]


def test_lists_so_many_on_a_page(signed_in: FlaskClient, cast: Cast) -> None:
    with cast.acme.database.transaction() as opened:
        for number in range(PAGE_SIZE + 1):
            opened.fetch("quotas/set_quota", agent_id=ORGANIZATION, quota_window="day", tokens=1, is_enforced=False)
            row = add_agent(opened, name=f"agent {number:02}", description="", scopes=[], max_agents=1000)
            opened.fetch("quotas/set_quota", agent_id=row.agent_id, quota_window="day", tokens=1, is_enforced=False)
    first, second = (Page(signed_in.get(f"{PATH}{query}")) for query in ("", "?page=2"))
    assert "All (52)" in first.text and "Page 1 of 2" in first.text
    names = [row[0] for page in (first, second) for row in page.table("Quotas")]
    assert (len(first.table("Quotas")), len(names), len(set(names))) == (PAGE_SIZE, PAGE_SIZE + 2, PAGE_SIZE + 2)


def test_an_agents_page_shows_its_own_and_the_organizations(signed_in: FlaskClient, cast: Cast, worker: Agent) -> None:
    page = f"/dashboard/agents/{worker.agent_id}"
    put(signed_in, cast.acme, "day", 5)
    assert "Neither the agent nor the organization has a quota" in Page(signed_in.get(page)).text
    put(signed_in, cast.acme, "month", 9, own=False)
    assert post(signed_in, f"{page}/quotas/hour/edit", tokens="3").status_code == 303
    shown = Page(signed_in.get(page))
    assert [[row[0], row[1].split()[0], row[2], row[3], row[4]] for row in shown.table("Quotas")] == [
        ["this agent", "hour", "0 % (0 of 3)", "only counts", "Change Remove"],
        # It is changed on the page of quotas.
        ["the organization", "month", "0 % (0 of 9)", "enforced", ""],
    ]
    assert {link for link in shown.links if "/quotas/" in link} == {
        *(f"{page}/quotas/{rest}" for rest in ("hour/edit", "hour/delete", "new")),
    }


@pytest.mark.parametrize("own", [True, False])
def test_sets_changes_and_removes_one(signed_in: FlaskClient, cast: Cast, worker: Agent, own: bool) -> None:
    back = f"/dashboard/agents/{worker.agent_id}" if own else PATH
    page, subject = f"{back}/quotas" if own else PATH, worker if own else cast.acme
    # The organization's and the agent's do not depend on each other.
    put(signed_in, cast.acme, "day", 99, own=not own)
    assert f"{page}/new" in Page(signed_in.get(back)).links
    status, notice = refusal(post(signed_in, f"{page}/new", tokens="10", window="year"))
    assert (status, "The window must be one of hour, day, month" in notice) == (400, True)
    assert led_to(post(signed_in, f"{page}/new", tokens="10", window="day")) == back
    assert quotas(signed_in, subject, own=own) == {"day": (10, False)}
    offered = Page(signed_in.get(f"{page}/new")).all("option")
    assert len(offered) == 2, "what has a quota is changed instead"
    assert Page(signed_in.get(f"{page}/day/edit")).typed["enforce"] == []
    for form, expected in (({"tokens": "20"}, (20, False)), ({"tokens": "30", "enforce": "1"}, (30, True))):
        assert led_to(post(signed_in, f"{page}/day/edit", **form)) == back
        assert quotas(signed_in, subject, own=own) == {"day": expected}
    assert Page(signed_in.get(f"{page}/day/edit")).typed == {"search": "", "tokens": "30", "enforce": ["1"]}
    assert "0 of 30 tokens are used" in Page(signed_in.get(f"{page}/day/delete")).text
    assert quotas(signed_in, subject, own=own) == {"day": (30, True)}
    assert led_to(post(signed_in, f"{page}/day/delete")) == back
    assert quotas(signed_in, subject, own=own) == {}
    for answer in (post(signed_in, f"{page}/day/delete"), signed_in.get(f"{page}/day/delete")):
        assert answer.status_code == 404


@WATCHES_THE_COORDINATOR
def test_waits_for_tokens_that_are_being_issued_before_it_locks_a_row(
    signed_in: FlaskClient, cast: Cast, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a token could wait for a row that the change has locked, and the change for the token."""
    put(signed_in, cast.acme, "day", 20)
    path = f"/dashboard/agents/{cast.acme.agent_id}/quotas/day/edit"
    waiting = (
        "select backend_xid is null from pg_stat_activity join pg_locks using (pid) "
        "where pg_stat_activity.datname = current_database() and locktype = 'advisory' and not granted"
    )
    with psycopg.connect(url) as issuing, psycopg.connect(url, autocommit=True) as watching:
        issuing.execute("select pg_advisory_xact_lock_shared(hashtext(%s::text), 16)", [cast.acme.organization_id])
        monkeypatch.setattr(registry, "LOCK_TIMEOUT", "10ms")
        assert post(signed_in, path, tokens="1").status_code == 503
        monkeypatch.setattr(registry, "LOCK_TIMEOUT", f"{PATIENCE}s")
        with ThreadPoolExecutor() as threads:
            response = threads.submit(post, signed_in, path, tokens="1")
            wait_until(lambda: watching.execute(waiting).fetchall())
            assert watching.execute(waiting).fetchall() == [(True,)]
            assert quotas(signed_in, cast.acme, own=True) == {"day": (20, True)}
            issuing.rollback()
            assert response.result().status_code == 303
    assert quotas(signed_in, cast.acme, own=True) == {"day": (1, False)}


@pytest.mark.parametrize("path", [f"{PATH}/week", f"/dashboard/agents/{NIL}/quotas/day"])
def test_there_is_no_other_window_and_the_nil_id_is_no_agents(signed_in: FlaskClient, cast: Cast, path: str) -> None:
    put(signed_in, cast.acme, "day", 20, own=False)
    for action in ("edit", "delete"):
        for answer in (signed_in.get(f"{path}/{action}"), post(signed_in, f"{path}/{action}", tokens="1")):
            assert answer.status_code == 404
    assert quotas(signed_in, cast.acme) == {"day": (20, True)}
