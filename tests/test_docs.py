"""Commands, settings, routes and make targets are documented, and the documentation names nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path

import click
import psycopg
import pytest
from flask import Flask

from agentidp.alerts import addresses
from agentidp.analytics.agent_rejections import NEXT_STEPS
from agentidp.cli import cli
from agentidp.config import Settings, find_default_data_dir
from agentidp.declarative.schemas import DocumentSchema
from agentidp.federation import issuer_tokens
from agentidp.findings.listing import ListedFindingSchema
from agentidp.http import errors
from agentidp.oauth import (
    authorization_grant,
    client_assertion,
    client_authentication,
    federated_token,
    first_sight,
    id_jag,
    token_exchange,
)
from agentidp.operations.instance_metrics import Usage, WatchFigures
from agentidp.registry import markers
from agentidp.scopes import SCOPES
from tests import catalog, members
from tests.factories import ROOT


def read(name: str) -> str:
    """The text of a file."""
    return (ROOT / name).read_text(encoding="utf-8")


DOCUMENTATION = "\n".join(
    path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
)
DEPLOYMENT = read("docs/deployment.md")


EVERYWHERE = {"--json"}
"""Options that docs/commands.md explains once."""


def commands(group: click.Group, prefix: str = "agentidp") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def test_the_page_of_commands_has_each_command_with_its_options_and_each_has_help() -> None:
    page = read("docs/commands.md")
    for name, command in commands(cli):
        assert command.help, f"{name} has no help"
        [row] = re.findall(rf"^\| `{name}[ `].*", page, re.MULTILINE) or [""]
        assert row, f"{name} is not in docs/commands.md"
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts} has no help"
                named = {flag for flag in (*option.opts, *option.secondary_opts) if flag not in EVERYWHERE}
                missing = {flag for flag in named if not re.search(rf"{flag}(?![\w-])", row + _tables_behind(row))}
                assert not missing, f"docs/commands.md: {name} has the options {missing}"


def _tables_behind(row: str) -> str:
    """Return the tables of members on the pages that a row links to."""
    pages = {page for page in re.findall(r"\]\(([\w-]+\.md)#", row) if "members" in row}
    return "".join(table for page in sorted(pages) for _, _, table, _ in members.TABLE.findall(read(f"docs/{page}")))


def test_the_tables_of_members_are_current_and_each_thing_has_one() -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    assert [name for name, text in pages.items() if members.with_tables(text) != text] == [], "run: make members"
    things = [thing for text in pages.values() for _, thing, _, _ in members.TABLE.findall(text)]
    assert sorted(things) == sorted(members.THINGS)


def test_the_docs_name_no_command_that_does_not_exist() -> None:
    command_names = {name for name, _ in commands(cli)}
    groups = {name.rsplit(" ", words)[0] for name in command_names for words in (1, 2)}
    for named in re.findall(r"`(agentidp [a-z][a-z-]*(?: [a-z][a-z-]*){0,2})", DOCUMENTATION):
        words = named.split()
        # What comes after a command is an argument.
        is_command = any(" ".join(words[:count]) in command_names for count in range(2, len(words) + 1))
        assert is_command or named in groups, named


SETTING = re.compile(r"^\| `(AGENTIDP_[A-Z_]+|PORT|WEB_CONCURRENCY)` \|(.*?)\|", re.MULTILINE)
"""A row of the deployment guide's table: the setting, and the cell with its default."""


def test_every_setting_is_in_the_deployment_guide() -> None:
    source = read("agentidp/config/__init__.py")
    settings = set(re.findall(r'"(AGENTIDP_[A-Z_]+|PORT|WEB_CONCURRENCY)"', source))
    assert len(settings) > 15
    assert settings == {name for name, _ in SETTING.findall(DEPLOYMENT)}


def test_the_deployment_guide_gives_the_defaults_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    defaults = Settings.from_environment({})
    documented = {name: cell.strip() for name, cell in SETTING.findall(DEPLOYMENT)}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    of_root = find_default_data_dir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    of_others = str(find_default_data_dir()).replace(str(Path.home()), "~")
    data_dir = documented.pop("AGENTIDP_DATA_DIR")
    assert data_dir == f"`{of_root}` for root, `{of_others}` (or below `XDG_DATA_HOME`) otherwise"
    assert documented.pop("AGENTIDP_ISSUER") == f"`{defaults.issuer.removesuffix(str(defaults.port))}` and `PORT`"
    for name, cell in documented.items():
        value = getattr(defaults, name.removeprefix("AGENTIDP_").removesuffix("_FILE").lower())
        if value is None:
            assert not re.search("[`0-9]", cell), f"{name} has no default"
        else:
            assert cell.strip("`") == (value if isinstance(value, str) else f"{value:g}"), name


def test_the_guide_to_containers_gives_the_variables_and_defaults_of_compose() -> None:
    compose = read("compose.yaml")
    guide = read("docs/containers.md")
    # The variables without a default are secrets, which the first command of the guide makes.
    assert dict(re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", compose)) == dict(
        re.findall(r"^\| `([A-Z_]+)` \| `(.*?)` \|", guide, re.MULTILINE)
    )


def test_the_guide_lists_every_scope() -> None:
    guide = read("docs/oauth.md")
    section = guide.partition("\n## Scopes\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == set(SCOPES)


def test_the_guides_name_every_kind_of_marker_and_every_type_of_alert_target() -> None:
    for document, names in (("analytics", markers.KINDS), ("dashboard", markers.KINDS), ("alerts", addresses.TYPES)):
        guide = read(f"docs/{document}.md").lower()
        assert [name for name in names if name not in guide] == [], document


def test_every_reason_of_a_rejection_is_in_the_table_of_reasons() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "agentidp").rglob("*.py")]
    text = "\n".join(sources)
    reasons = set(re.findall(r'record_rejection\([^"()]+"([^"{]+)"', text)) | {"unknown client"}
    reasons |= {f"token {reason}" for reason in re.findall(r'TokenRefused\("([^"]+)", token,', text)}
    reasons |= set(re.findall(r'\brefusal(?:: str \| None)?\s?=\s?"([^"]+)"', text))
    reasons |= {client_assertion.WRONG_SIGNATURE, *client_authentication.ADVICE, *client_authentication.ADVICE_FOR_KEYS}
    reasons |= {"wrong secret", "revoked or expired key", client_authentication.UNREADABLE}
    reasons |= {*issuer_tokens.REASONS, *federated_token.REASONS}
    reasons |= {*first_sight.REASONS, *token_exchange.Reason, *id_jag.Reason}
    functions = "\n".join(
        read(f"sql/functions/{name}.sql") for name in ("chain_refusal", "exchange_token", "redeem_grant")
    )
    reasons |= set(re.findall(r"(?:return|refusal :=|then) '([A-Za-z ]+)'", functions))
    # Nothing is counted for an unknown code or refresh token.
    reasons -= {authorization_grant.Reason.UNKNOWN}
    assert {"audience ended", "no delegation rule", "wrong redirect URI"} <= reasons
    assert {"wrong audience", "unknown key", "assertion used before", "assertion expired"} <= reasons
    statement = read("sql/usage/record_rejected_network.sql")
    reasons |= set(re.findall(r"'([a-z]+ (?:agent|credential|organization))'", statement))
    assert len(reasons) >= 15
    rows = re.findall(r"^\| (`.*?`) \|(?:[^|]+\|)? ([^|]+) \|$", read("docs/refusals.md"), re.M)
    steps = {reason: step for reasons_cell, step in rows for reason in re.findall(r"`([^`]+)`", reasons_cell)}
    assert reasons - steps.keys() == set()
    without_links = {reason: re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", step) for reason, step in steps.items()}
    # The owner of an agent reads the same advice, without links.
    assert NEXT_STEPS.items() <= without_links.items()
    assert reasons - NEXT_STEPS.keys() == {"unknown client", federated_token.SEVERAL_AGENTS, *first_sight.REASONS}


def test_the_guide_to_files_names_what_a_file_can_say() -> None:
    guide = read("docs/declarative.md")
    [organizations] = DocumentSchema().fields.values()
    organization = organizations.inner.schema.fields
    for thing, section in (
        ("organization", None),
        ("agent", "agents"),
        ("resource server", "resourceServers"),
        ("provisioning rule", "provisioningRules"),
        ("delegation rule", "delegationRules"),
    ):
        [cell] = re.findall(rf"^\| an? {thing} \|([^|]+)\|", guide, re.MULTILINE)
        in_file = organization[section].inner.schema.fields if section else organization
        returned = members.THINGS[thing][0].fields
        names = {name for name, field in returned.items() if not field.dump_only} if "API" in cell else set()
        names = {re.sub("Ids?$", lambda end: "s" if end[0] == "Ids" else "", name) for name in names}
        assert names | set(re.findall(r"`([a-zA-Z]+)`", cell)) == set(in_file), thing


def test_every_error_code_is_in_the_table_of_errors() -> None:
    guide = read("docs/analytics.md")
    section = guide.partition("\n## Errors\n")[2]
    documented = set(re.findall(r"^\| (\d{3}) \| `([A-Z_]+)` \|", section, re.MULTILINE))
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ApiError)}
    assert {(str(kind.status), kind.code) for kind in kinds if "code" in vars(kind)} - documented == set()


def test_every_metric_is_documented() -> None:
    modules = ("metrics", "operations/instance_metrics")
    source = "".join(read(f"agentidp/{module}.py") for module in modules)
    names = set(re.findall(r'"(agentidp_[a-z_]+)"', source))
    assert len(names) > 20
    # The source has only the beginning of the name that an f-string makes.
    assert set(re.findall(r'f"(agentidp_[a-z_]*)', source)) == {"agentidp_alerts_", "agentidp_organization_"}
    names |= {metric.name for metric in WatchFigures().collect()}
    names |= {f"agentidp_organization_{field.name}" for field in fields(Usage) if field.type == "int"}
    assert {"agentidp_alerts_waiting", "agentidp_organization_tokens_today"} <= names
    guide = read("docs/operating.md")
    assert [name for name in sorted(names) if name not in guide] == []


def test_the_example_of_a_finding_has_each_field_and_the_table_below_it_explains_them() -> None:
    guide = read("docs/analytics.md")
    section = guide.partition("A finding looks like this:\n")[2].partition("\n### State\n")[0]
    example = json.loads(section.partition("```json\n")[2].partition("```")[0])
    assert ListedFindingSchema().validate(example) == {}
    assert set(example) == set(ListedFindingSchema().fields)
    explained = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", explained)) == set(example)


def test_every_make_target_has_help_and_is_documented() -> None:
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert len(targets) >= 9
    assert set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE)) == targets
    [phony] = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert set(phony.split()) == targets
    documented = read("docs/commands.md")
    for target in targets:
        assert re.search(rf"make {target}\b(?!-)", documented), target


def test_every_route_is_documented(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[a-z]+(?:\([^)]*\))?:)?([a-z_]+)>", lambda m: "{" + _camel(m[1]) + "}", rule.rule)
        assert path in DOCUMENTATION, path


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def test_every_link_between_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for address, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")):
            if "://" not in address:
                target = document.parent / address if address else document
                assert target.exists(), f"{document.name}: {address}"
                assert not anchor or anchor in _anchors(target), f"{document.name}: {address}#{anchor}"


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_threat_model_names_tests_that_exist() -> None:
    text = read("docs/security.md")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    assert [(file, name) for file, name in named if f"def {name}(" not in (ROOT / file).read_text("utf-8")] == []


def test_the_table_of_the_schema_has_every_table(database_url: str) -> None:
    text = read("docs/architecture.md")
    documented = re.findall(r"^\|[^|]*\| `([a-z_]+)`( \*)? \|", text, re.MULTILINE)
    with psycopg.connect(database_url) as connection:
        assert sorted(name for name, _ in documented) == sorted(catalog.tables(connection))
    assert {name for name, is_instance_wide in documented if is_instance_wide} == catalog.INSTANCE_WIDE


@pytest.mark.parametrize("documents", ["docs/architecture.md", "docs/contributing/*.md", "CONTRIBUTING.md"])
def test_the_files_that_a_document_names_are_there(documents: str) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob(documents))
    named = re.findall(r"`([\w./-]+/|[\w./-]+\.(?:py|sql|cfg|md|conf|yaml))`", text)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "agentidp" / name).exists()] == []


@pytest.mark.parametrize("documents", ["docs/architecture.md", "docs/contributing/*.md", "CONTRIBUTING.md"])
def test_the_functions_and_classes_that_a_document_names_are_there(documents: str) -> None:
    sources = [*(ROOT / "agentidp").rglob("*.*"), *(ROOT / "sql").rglob("*.sql"), *(ROOT / "tests").rglob("*.py")]
    text_of_sources = "\n".join(
        path.read_text(encoding="utf-8") for path in sources if path.suffix in (".py", ".sql", ".html", ".css", ".js")
    )
    names_in_sources = set(re.findall(r"[A-Za-z_]\w*", text_of_sources)) | {path.stem for path in sources}
    names_in_text = {
        name
        for path in ROOT.glob(documents)
        for quoted_code in re.findall(r"`([\w.…()]+)`", path.read_text(encoding="utf-8"))
        for name in re.findall(r"\w*_\w*|[A-Z]\w*[a-z][A-Z]\w*", quoted_code)
        # `check_…` and `p_` are the beginnings of names.
        if not name.endswith("_")
    }
    assert len(names_in_text) > 3
    assert names_in_text - names_in_sources == set()


def test_a_word_that_a_recipe_quotes_is_in_a_file_that_the_same_row_names() -> None:
    missing_words, word_count = [], 0
    for path in ROOT.glob("docs/contributing/*.md"):
        for row in re.split(r"\n(?=[|-])|\n\n", path.read_text(encoding="utf-8")):
            files = [ROOT / name for name in re.findall(r"`([\w./-]+\.(?:py|sql))`", row) if row[0] in "|-"]
            words_in_files = {word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
            words = set(re.findall(r"`([a-z]+)`", row)) if files else set()
            missing_words += [(path.name, word) for word in words - words_in_files]
            word_count += len(words)
    assert word_count > 5
    assert missing_words == []


def test_the_picture_of_the_rooms_has_the_layers_that_import_linter_checks() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = setup["importlinter:contract:layers"]["layers"].replace("agentidp.", "").split("\n")
    [picture, *_] = re.findall(r"^```\n(.*?)^```", read("docs/architecture.md"), re.M | re.S)
    # A line that begins with | continues the layer above it.
    drawn = re.sub(r"\n\|", " |", re.sub(r"  +.*", "", picture)).splitlines()
    assert drawn == [layer for layer in layers if layer]
    rooms = {
        path.stem
        for path in (ROOT / "agentidp").glob("[a-z]*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "__main__"} == {name for line in drawn for name in line.split(" | ")}
