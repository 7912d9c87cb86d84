"""The differences between our application class and Flask's."""

from __future__ import annotations

import pytest
from flask import Flask, g, session

from agentidp.http.request_context import current_context


def test_flask_finds_no_session_and_keeps_none(shared_app: Flask) -> None:
    with shared_app.test_request_context("/"):
        assert session.get("a") is None
        with pytest.raises(RuntimeError, match="session is unavailable"):
            session["a"] = 1
        assert "a" not in session


def test_what_a_request_has_is_not_there_in_the_next_one(shared_app: Flask) -> None:
    with shared_app.test_request_context("/"):
        g.organization_id = current_context().agent_id = "x"
        assert (g.get("organization_id"), g.get("agent_id"), g.get("caller"), g.get("viewer", 1)) == ("x", "x", None, 1)
    with shared_app.test_request_context("/"):
        assert (current_context().organization_id, g.agent_id) == (None, None)
