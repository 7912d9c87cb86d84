"""Properties that all commands share."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest

from agentidp.cli import output
from agentidp.cli.credential import MAX_LIFETIME_DAYS
from agentidp.config import MAX_AUDIT_DAYS
from agentidp.http.text import text_refusal
from agentidp.registry.quotas import MAX_TOKENS
from tests.cli.command import ORGANIZATION, Command
from tests.factories import PATIENCE, ROOT, clean_environment, wait_until

ZEROS = "0" * 64
SINCE = "must be a day (2026-04-15), or a date and time with a time zone (2026-04-15T12:00:00Z)"
KNOWN = "--known must be a sequence number, a colon and a hash of 64 hexadecimal digits"
AFTER = "--after requires --organization, and cannot be combined with --state"
QUOTA = "Invalid value for --quota: must be WINDOW=TOKENS, and the window one of hour, day, month"
MONTHS = "Invalid value for '--keep': must be at least 4 calendar months, for example 25months"
MUTE = f"findings mute {uuid.uuid4()} --organization o"
MISUSES = [
    ("nonsense", "No such command 'nonsense'."),
    ("agent create", "Missing argument 'NAME'."),
    ("agent create x", "Missing option '--organization'."),
    *((f"audit list --since {wrong}", SINCE) for wrong in ("yesterday", "2026-04-15T12:00:00", "2026-13-01")),
    ("audit list --since 0001-01-01T00:00:00+23:00", SINCE),
    ("audit export --after 3", AFTER),
    ("audit export --after 3 --organization o --state s", AFTER),
    (f"audit prune --keep {MAX_AUDIT_DAYS + 1}", "must be a whole number from 0 to "),
    (f"audit verify --known 4:{ZEROS}", "--known requires --organization"),
    *((f"audit verify --organization o --known {head}", KNOWN) for head in ("4", f"x:{ZEROS}", "4:0", f"٣:{ZEROS}")),
    ("credential create --agent a --expires-in 0", "must be a whole number from 1 to "),
    (f"credential create --agent a --expires-in {MAX_LIFETIME_DAYS + 1}", "must be a whole number from 1 to "),
    ("credential trust --agent a --issuer i --claim ref", "Invalid value for --claim: must be name=value, or name:="),
    ("credential trust --agent a --issuer i --claim ref:=x", "Invalid value for --claim: ref:= must be followed by "),
    ("credential trust --agent a --issuer i --jwks -", "Invalid value for --jwks: must be a JWK Set"),
    ("credential test --token -", "give --agent or --organization"),
    ("credential test --token - --agent a --organization o", "give --agent or --organization, not both"),
    (MUTE, "give --until or --days"),
    (f"{MUTE} --until 2026-01-01 --days 1", "give --until or --days"),
    ("keys rotate --alg none", "No such option '--alg'."),
    ("organization budget o 0", "must be a whole number from 1 to 1000000000000, not '0'"),
    ("organization budget o 5 --none", "TOKENS and --none cannot be combined"),
    ("organization dormancy o 29", "must be a whole number from 30 to 3650, not '29'"),
    ("organization dormancy o 120 --none", "DAYS and --none cannot be combined"),
    *(
        (f"provisioning-rule create n --organization o --issuer i --quota {wrong}", QUOTA)
        for wrong in ("day", "day=", "year=5", "day=-5", "day=٣", f"day={'9' * 16}")
    ),
    ("quota list", "give --agent or --organization"),
    ("quota set --agent a --per week --tokens 1", "'week' is not one of 'hour', 'day', 'month'."),
    (f"quota set --agent a --per day --tokens {MAX_TOKENS + 1}", "must be a whole number from 1 to "),
    ("resource-server list --organization o --conflicts", "--organization and --conflicts cannot be combined"),
    *((f"usage prune --keep '{wrong}'", MONTHS) for wrong in ("3months", "0months", "25", "25 months", "-25months")),
    ("usage prune --keep 99999months", MONTHS),
]


def test_a_command_that_is_written_wrong_ends_with_2(shared_run: Command) -> None:
    errors = [(line, shared_run.misused(*shlex.split(line), input="[]")) for line, _ in MISUSES]
    assert [error for error, (_, rule) in zip(errors, MISUSES, strict=True) if rule not in error[1]] == []


NOBODY = str(uuid.UUID(int=1))
NO_TARGET, NO_AGENT = f"the organization has no alert target {NOBODY}", f"there is no agent {NOBODY}"
OURS = "resource must not be this server's own API or dashboard"
NO_RESOURCE = "the resource must be an absolute URI without fragment, or an unshared audience"
AZURES = "api://AzureADTokenExchange"
REFUSALS = [
    ("agent create builder {of}", "Another agent has this name. (name is taken)"),
    (
        "agent create '' {of} --description \udcff",
        f"name must have 1 to 100 characters; description {text_refusal(chr(0xDCFF))}",
    ),
    ("agent create x --organization org-1", "there is no organization 'org-1'"),
    ("agent list --organization \udcff", "there is no organization '\\udcff'"),
    *((f"agent {command} {NOBODY}", NO_AGENT) for command in ("show", "suspend", "delete")),
    *((f"alerts target {command} {NOBODY} {{of}}", NO_TARGET) for command in ("show", "test", "delete")),
    (f"alerts target update {NOBODY} {{of}} --disable", NO_TARGET),
    ("audit prune --yes", "the number of days to keep is missing: give --keep, or set AGENTIDP_AUDIT_DAYS"),
    (f"credential create --agent {NOBODY}", NO_AGENT),
    ("credential create --agent builder --label ' x'", "label must not begin or end with white space"),
    (
        "credential trust --agent builder --issuer https://i.example",
        "subject must be there, or claims: otherwise every token of the issuer would be trusted",
    ),
    (f"marker delete --yes {NOBODY} {{of}}", f"the organization has no marker {NOBODY}"),
    (f"marker create deployment {{of}} --agent {NOBODY}", "agentId must be an agent of the organization"),
    ("organization create ''", "name must have 1 to 100 characters"),
    ("organization create '' --with-administrator", "name must have 1 to 100 characters"),
    ("organization rename Acme ' x'", "name must not begin or end with white space"),
    (
        "provisioning-rule create ' x' {of} --issuer https://i.example --subject s --agent-name a --max-agents 3",
        "name must not begin or end with white space",
    ),
    (f"quota set --agent {NOBODY} {{of}} --per day --tokens 1", "there is no such agent or quota"),
    ("resource-server create http://localhost:3000/api/v1 {of} --name a", OURS),
    *((f"resource-server assign {of_all} {{of}}", NO_RESOURCE) for of_all in ("sts.amazonaws.com", AZURES)),
    ("resource-server assign http://localhost:3000/api/v1 {of}", f"the {OURS}"),
    ("resource-server assign http://localhost:3000/dashboard/sign-in {of}", f"the {OURS}"),
    ("resource-server release --yes \udcff", NO_RESOURCE),
    *((f"usage {command} --organization x", "there is no organization 'x'") for command in ("import -", "export")),
]


def test_a_refusal_is_one_sentence_and_ends_with_1(run: Command, agent: str) -> None:
    errors = [run.refused(*shlex.split(line.format(of="--organization Acme"))) for line, _ in REFUSALS]
    assert [pair for pair in zip(errors, REFUSALS, strict=True) if pair[0] != pair[1][1]] == []
    assert len(run.cells("organization", "list")) == len(run.cells("agent", "list", "--organization", "Acme")) == 1


class TestRefusalsOfTheDatabase:
    @pytest.mark.parametrize("command", ["organization list", "db migrate", "serve", "demo"])
    def test_that_does_not_answer(self, shared_run: Command, command: str) -> None:
        url = "postgresql://u:hush@127.0.0.1:1/x"
        sentence = shared_run.refused(*command.split(), AGENTIDP_DATABASE_URL=url, PORT="3999")
        assert sentence.startswith("the database of AGENTIDP_DATABASE_URL does not answer: ")
        assert "hush" not in sentence

    @pytest.mark.parametrize("command", ["backup {}/agentidp.dump", "keys list", "token"])
    def test_that_is_not_there(self, shared_run: Command, tmp_path: Path, command: str) -> None:
        """Without this check, such a command would create an empty database."""
        nowhere: dict[str, str | None] = {"AGENTIDP_DATABASE_URL": None, "AGENTIDP_DATA_DIR": str(tmp_path)}
        sentence = shared_run.refused(*command.format(tmp_path).split(), **nowhere)
        assert sentence == (
            f"there is no database in {tmp_path}: start agentidp serve, which makes one, or set AGENTIDP_DATA_DIR to "
            "the directory that has yours, or AGENTIDP_DATABASE_URL"
        )
        assert [*tmp_path.iterdir()] == []

    def test_that_takes_long(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(output, "QUIET_SECONDS", 0.01)
        for is_terminal, expected in ((True, "Waiting …\n"), (False, "")):
            monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
            outputs: list[str] = []
            with output.show_activity("Waiting"):
                wait_until(lambda: outputs.append(capsys.readouterr().err) or "".join(outputs) == expected)  # noqa: B023

    @pytest.mark.parametrize(
        ("environment", "sentence"),
        [
            ({"AGENTIDP_TOKEN_TTL": "soon"}, "AGENTIDP_TOKEN_TTL must be a whole number from 60 to 86400, not 'soon'"),
            (
                {"AGENTIDP_SECRET_KEY": ""},
                "AGENTIDP_SECRET_KEY (or AGENTIDP_SECRET_KEY_FILE) must be set if AGENTIDP_DATABASE_URL is",
            ),
            (
                {"AGENTIDP_SECRET_KEY": "another secret that nobody knows of"},
                "AGENTIDP_SECRET_KEY does not decrypt {kid}, the key that signs tokens: set the secret that the "
                "instance was started with, or if it is lost, run agentidp keys revoke {kid}",
            ),
        ],
    )
    def test_of_a_bad_setting(self, shared_run: Command, environment: dict[str, str], sentence: str) -> None:
        kid = shared_run.cells("keys", "list")[0][0]
        assert shared_run.refused("organization", "list", **environment) == sentence.format(kid=kid)

    def test_of_a_role_that_may_not(self, shared_run: Command) -> None:
        name = f"weak_{uuid.uuid4().hex}"
        with psycopg.connect(shared_run.database_url, autocommit=True) as connection:
            connection.execute(f"create role {name} login password 'x'")
            connection.execute(f"grant select on schema_migrations to {name}")
            try:
                url = re.sub(r"//[^@]*@", f"//{name}:x@", shared_run.database_url)
                sentence = shared_run.refused("watch", "--once", AGENTIDP_DATABASE_URL=url)
            finally:
                connection.execute(f"drop owned by {name}")
                connection.execute(f"drop role {name}")
        assert sentence == (
            "the database's schema cannot be brought up to date: permission denied for schema public. "
            "Set AGENTIDP_DATABASE_URL to the URL of the role that owns the database"
        )


@pytest.mark.slow
def test_the_installed_command_prints_no_traceback_and_nothing_but_what_was_asked_for(shared_run: Command) -> None:
    def agentidp(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "agentidp", *arguments],
            env=clean_environment() | shared_run.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert agentidp("-h") == agentidp("--help")
    result = agentidp("organization", "create", "Acme")
    assert (result[0], result[2]) == (0, "")
    assert re.fullmatch(ORGANIZATION + "\n", result[1])
    assert agentidp("token", "--agent", NOBODY) == (1, "", f"Error: there is no agent {NOBODY}\n")
