"""``agentidp db``."""

from __future__ import annotations

from agentidp.db.migrations import steps
from tests.citus import WITHOUT_CITUS
from tests.cli.command import Command
from tests.conftest import ON_CITUS
from tests.factories import execute


def test_migrates(shared_run: Command, empty_database_url: str) -> None:
    assert shared_run("db", "migrate") == "The schema is up to date."
    empty = Command(empty_database_url)
    assert empty("db", "migrate").splitlines() == [step.name for step in steps()]
    assert empty("db", "migrate") == "The schema is up to date."


@WITHOUT_CITUS
def test_distributes_what_is_on_citus(shared_run: Command) -> None:
    assert shared_run.refused("db", "distribute").startswith("the database has no Citus: ")
    sentence = shared_run.refused("db", "distribute", AGENTIDP_DATABASE_URL=None)
    assert sentence == "AGENTIDP_DATABASE_URL must name the coordinator of the Citus cluster and a superuser"


@ON_CITUS
def test_distributes_on_a_cluster(quiet: None, empty_database_url: str) -> None:
    run = Command(empty_database_url)
    assert run.invoke("db", "migrate").exit_code == 0
    printed = run("db", "distribute").splitlines()
    assert printed[0] == "clients\twhole on every node"
    assert "credentials\tdistributed by organization" in printed
    assert run("db", "distribute") == "Everything is distributed."


def test_a_command_reports_the_migrations_that_it_applies(run: Command) -> None:
    execute(run.database_url, "delete from schema_migrations where name like 'functions%'")
    result = run.invoke("organization", "list")
    assert result.exit_code == 0
    assert result.stderr == f"Brought the database's schema up to date: {steps()[-1].name}.\n"
    assert run.invoke("organization", "list").stderr == ""
