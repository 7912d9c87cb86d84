"""Introspects tokens."""

from __future__ import annotations

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.factories import Agent
from tests.oauth.clients import ask_as

PATH = "/api/v1/token/introspect"


INACTIVE = {"active": False}


def introspect(client: FlaskClient, agent: Agent, token: str, **form: str) -> TestResponse:
    """Introspect a token as *agent*."""
    return ask_as(client, agent, PATH, token=token, **form)
