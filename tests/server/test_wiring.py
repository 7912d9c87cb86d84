"""The choice between the stock classes and the fast path."""

from __future__ import annotations

import sys

import pytest

import agentidp
from agentidp import create_app, fast_path
from agentidp.fast_path.application import FastApplication
from agentidp.http.application import Application
from agentidp.server.wiring import Classes, choose_classes
from tests.conftest import settings_for
from tests.factories import SECRET_KEY, ServerWithoutLauncher

ON = settings_for("postgresql:///none", fast_path="on")
STOCK = (Application, "agentidp.http.worker.Worker")


def test_the_fast_path_is_on_unless_a_setting_says_otherwise() -> None:
    assert choose_classes(ON) == Classes(FastApplication, "agentidp.fast_path.worker.PollingWorker")
    off = settings_for("postgresql:///none", fast_path="off")
    assert choose_classes(off) == Classes(*STOCK, "AGENTIDP_FAST_PATH is off")
    assert [type(create_app(settings)) for settings in (ON, off)] == [FastApplication, Application]


def test_other_versions_run_on_stock_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"gunicorn": "27.0.2", "Flask": "3.1.3", "Werkzeug": "3.2.0"}
    monkeypatch.setattr(fast_path, "version", installed.__getitem__)
    assert choose_classes(ON) == Classes(*STOCK, "the fast path was not tested with gunicorn 27.0.2 and Werkzeug 3.2.0")


def test_without_its_directory_the_service_runs_on_stock_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(agentidp, "fast_path")
    monkeypatch.setitem(sys.modules, "agentidp.fast_path", None)
    assert choose_classes(ON) == Classes(*STOCK, "the fast path is not installed")


@pytest.mark.slow
def test_the_service_says_once_that_it_runs_on_stock_parts(database_url: str) -> None:
    environment = {"AGENTIDP_DATABASE_URL": database_url, "AGENTIDP_SECRET_KEY": SECRET_KEY, "WEB_CONCURRENCY": "2"}
    with ServerWithoutLauncher({**environment, "AGENTIDP_FAST_PATH": "off"}) as server:
        assert server.get("/healthz")
    assert server.logs().count('"message": "the service runs on stock parts"') == 1
