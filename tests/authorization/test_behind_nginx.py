"""The response of the consent form behind nginx with the shipped site."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask import Flask

from agentidp.authorization.requests import MAX_QUERY
from tests.authorization.conftest import WEB_URI, Editor
from tests.dashboard.conftest import SAME_ORIGIN, Page, cookie_header, store_cookies
from tests.deploy.deployment import FORM, Nginx, fetch
from tests.factories import free_port
from tests.helpers.serving import serving

pytestmark = pytest.mark.deploy


def test_the_longest_state_comes_back(editor: Editor, app: Flask, tmp_path: Path) -> None:
    """The request has the characters as they are, and the redirect has three characters for each."""
    query = f"{editor.query(state=None)}&state="
    state = "".join(random.Random(1).choices("/:@!$'()*,;?", k=MAX_QUERY - len(query)))
    cookies: dict[str, str] = {}
    begun = editor.client.get(f"/authorize?{query}{state}")
    page = editor.client.get(editor.provider.authorize(begun.headers["Location"]))
    # The browser also has the cookie of a further sign-in of the same length.
    for response in (begun, page, editor.client.get(f"/authorize?{query}{state}")):
        store_cookies(cookies, response)
    assert len(cookies) == 2
    form = urlencode({"consent": Page(page).typed["consent"], "answer": "allow"}).encode()
    port = free_port()
    headers = FORM | SAME_ORIGIN | cookie_header(cookies)
    with serving(app, port), Nginx(tmp_path, port) as nginx, closing(nginx.connection()) as connection:
        response = fetch(connection, "POST", "/authorize", form, headers)
    assert response.status == 303, response.body
    assert response.headers["Location"].startswith(f"{WEB_URI}?code=")
    assert urlencode({"state": state}) in response.headers["Location"]
