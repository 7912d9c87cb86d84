"""The pictures of the dashboard are small, and of the dashboard as it is."""

from __future__ import annotations

import re
import struct

import pytest
from flask import Flask

from agentidp.demo import create_demo
from agentidp.services import Services
from tests.browser.picture import KEYWORD, PICTURES, WIDTH, chunks, digest
from tests.factories import NOON, ROOT, demo_operator

MAX_BYTES = 200_000


@pytest.fixture
def present(app: Flask, database_url: str, services: Services) -> str:
    """The digest of the page that `make picture` would take now."""
    assert create_demo(database_url, services.database, NOON)
    return digest(app, demo_operator(services))


def test_the_pictures_are_of_the_dashboard_as_it_is(present: str) -> None:
    for path in PICTURES.values():
        made_of = [content for kind, content in chunks(path.read_bytes()) if kind == b"tEXt"]
        assert made_of == [KEYWORD + b"\0" + present.encode()], (
            f"the dashboard or what it shows of the demo has changed since {path.name}: run `make picture`, "
            "look at docs/dashboard.png and docs/dashboard-dark.png, and commit them"
        )


def test_the_pictures_are_small_and_whole() -> None:
    for path in PICTURES.values():
        kinds, contents = zip(*chunks(path.read_bytes()), strict=True)
        assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
        width, height = struct.unpack_from(">II", contents[0])
        assert (width, 900 < height < 3000) == (WIDTH, True)
        assert path.stat().st_size < MAX_BYTES


@pytest.mark.parametrize("document", ["README.md", "docs/dashboard.md"])
def test_the_documents_show_them_to_readers_who_like_it_light_or_dark(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    [source] = re.findall(r'<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">', text)
    [image] = re.findall(r'<img alt="[^"]{40,}" src="([^"]+)"', text)
    assert [(path.parent / name).resolve() for name in (image, source)] == [PICTURES["light"], PICTURES["dark"]]
