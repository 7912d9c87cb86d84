"""``make picture``: the dashboard of the demo organization, as README and docs/dashboard.md show it.

A picture holds the digest of the page that it was made of, by which tests/browser/test_picture.py knows an old one.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import uuid
import zlib
from collections.abc import Iterator

import psycopg
from flask import Flask
from playwright.sync_api import Page

from agentidp import create_app
from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import temporary
from agentidp.db.migrations import migrate
from agentidp.jose.key_rotation import ensure_signing_key
from tests.browser.stage import chromium, staged
from tests.conftest import settings_for, with_database
from tests.factories import ROOT, Agent

PICTURES = {"light": ROOT / "docs" / "dashboard.png", "dark": ROOT / "docs" / "dashboard-dark.png"}
"""The files of the pictures, by color scheme."""

PATH = "/dashboard"
WIDTH = 1280
KEYWORD = b"agentidp-page"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def digest(app: Flask, operator: Agent) -> str:
    """Return a digest of the page in a picture: its text, which includes the version of its style. The page's script
    changes nothing in the first minute.

    :param app: the application with the unchanged demo organization, at the default time of the tests.
    """
    client = app.test_client()
    # A pasted token, which does not count as one issued.
    assert client.post("/dashboard/sign-in", data={"token": operator.token()}).status_code == 303
    response = client.get(PATH)
    assert response.status_code == 200
    issuer = app.extensions["agentidp"].settings.issuer
    # Ids are random.
    random = r"(dashboard\.js\?v=|/findings/|/agents/|/markers/|\bagent=|\b(?:finding|act|row)-)[0-9a-f][0-9a-f-]*"
    shown = re.sub(random, r"\1", response.text.replace(issuer, ""))
    return hashlib.sha256(shown.encode()).hexdigest()


def sign_in(page: Page, operator: Agent) -> None:
    """Sign in to the session whose page :func:`digest` covers."""
    page.goto("/dashboard/sign-in")
    page.get_by_label("Access token").fill(operator.token())
    page.get_by_role("button", name="Sign in with the token").click()
    page.wait_for_url("**/dashboard")


FEW_COLORS = """async screenshot => {
    const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${screenshot}`)).blob())
    const { width, height } = image
    const context = new OffscreenCanvas(width, height).getContext("2d")
    context.drawImage(image, 0, 0)
    const { data } = context.getImageData(0, 0, width, height)
    const pixels = new Uint32Array(data.buffer)
    const often = new Map()
    for (const color of pixels) often.set(color, (often.get(color) ?? 0) + 1)
    const parts = color => [color & 255, color >> 8 & 255, color >> 16 & 255]
    const distance = (one, other) => one.reduce((sum, part, i) => sum + (part - other[i]) ** 2, 0)
    const colors = [...often.keys()].sort((one, other) => often.get(other) - often.get(one) || one - other)
    const palette = colors.slice(0, 256).map(parts)
    const nearest = new Map(colors.map(color => {
        const far = palette.map(other => distance(parts(color), other))
        return [color, far.indexOf(Math.min(...far))]
    }))
    const indexes = Uint8Array.from(pixels, color => nearest.get(color))
    return { width, height, palette: palette.flat(), indexes: indexes.toBase64() }
}"""
"""JavaScript that returns the 256 most frequent colors of a PNG, and for each pixel the nearest of these colors."""


def small_png(page: Page, screenshot: bytes, text: str) -> bytes:
    """Return a PNG with 256 colors, a third as large, with *text* in a chunk (PNG third edition, section 11.3.3.3).

    :param page: an empty page.
    """
    few = page.evaluate(FEW_COLORS, base64.b64encode(screenshot).decode())
    width, height, indexes = few["width"], few["height"], base64.b64decode(few["indexes"])
    # Each row begins with its filter: none.
    rows = b"".join(b"\0" + indexes[at : at + width] for at in range(0, len(indexes), width))
    return SIGNATURE + b"".join(
        chunk(kind, content)
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"tEXt", KEYWORD + b"\0" + text.encode("ascii")),
            (b"PLTE", bytes(few["palette"])),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG: type and content."""
    assert picture.startswith(SIGNATURE)
    at = len(SIGNATURE)
    while at < len(picture):
        [length] = struct.unpack_from(">I", picture, at)
        yield picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]
        at += length + 12


def main() -> None:
    """Make both pictures again."""
    with temporary() as postgres:
        name = f"picture_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        url = with_database(postgres.url, name)
        migrate(url)
        ensure_signing_key(settings_for(url), at=utc_now())
        with staged(url) as stage, chromium() as browser:
            app = create_app(stage.services.settings, clock=stage.clock)
            text = digest(app, stage.operator)
            app.extensions["agentidp"].close()
            page = browser.new_page(base_url=stage.url, viewport={"width": WIDTH, "height": 900})
            sign_in(page, stage.operator)
            response = page.goto(PATH, wait_until="networkidle")
            assert response is not None
            assert response.status == 200, response.text()
            last = page.locator("#activity").bounding_box()
            assert last is not None
            shown = {"x": 0, "y": 0, "width": WIDTH, "height": round(last["y"] + last["height"]) + 16}
            empty = browser.new_page()
            for scheme, path in PICTURES.items():
                page.emulate_media(color_scheme=scheme)
                screenshot = page.screenshot(full_page=True, clip=shown, animations="disabled")
                path.write_bytes(small_png(empty, screenshot, text))
                print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
