"""The metrics of a running service are sums over its workers, including killed workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from agentidp.server.metrics_server import WorkerMetrics
from tests.conftest import _fresh_database, new_agent
from tests.factories import PATIENCE, children, usage_sums, wait_until
from tests.helpers.load import THREADS, Load
from tests.server.scrape import MeteredServer

pytestmark = pytest.mark.very_slow

TOKENS = 40
"""Number of tokens per thread of a load."""


@pytest.fixture(scope="module")
def metered(postgres_url: str, template: str) -> Iterator[MeteredServer]:
    with contextlib.contextmanager(_fresh_database)(postgres_url, template) as url, MeteredServer(url) as running:
        yield running


@pytest.mark.usefixtures("midnight_is_far")
def test_the_metrics_equal_the_ledger_after_a_load_with_killed_workers(metered: MeteredServer) -> None:
    database_url = metered.environment["AGENTIDP_DATABASE_URL"]
    agent = new_agent(database_url)
    load = Load(metered.port, [agent], TOKENS).start()
    for part in (1, 2, 3):
        wait_until(lambda: load.acknowledged >= part * THREADS * TOKENS // 4)  # noqa: B023
        [victim, *_] = metered.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in metered.workers() and len(metered.workers()) == 2)  # noqa: B023
    load.join()
    acknowledged, unanswered = load.acknowledged, sum(load.lost)
    ledger = usage_sums(database_url, agent.organization_id)["tokens"]
    issued = metered.value("agentidp_tokens_issued_total")
    timed = metered.value("agentidp_http_request_duration_seconds_count", route="/api/v1/token")
    requested = metered.value("agentidp_http_requests_total", route="/api/v1/token")
    # A worker can be killed after the commit and before it counts, between two counters, or after it has counted and
    # before it responds.
    assert acknowledged <= timed <= requested <= issued <= ledger <= acknowledged + unanswered
    # Usage is read from the database's counters, so a killed worker makes no difference.
    wait_until(
        lambda: (
            metered.value("agentidp_organization_tokens_this_month", organization=agent.organization_id)
            == usage_sums(database_url, agent.organization_id)["tokens"]
        )
    )
    # Only the counts of the killed workers are left.
    wait_until(lambda: metered.value("agentidp_workers") == 2)
    assert metered.value("agentidp_workers_configured") == 2
    live = {str(pid) for pid in metered.workers()} | {"0", str(metered.main_process())}
    wait_until(lambda: {file.stem.rpartition("_")[2] for file in metered.metrics_directory().glob("*.db")} <= live)
    assert metered.value("agentidp_tokens_issued_total") == issued


def test_a_file_that_a_worker_has_just_made_hides_none_of_the_others(tmp_path: Path) -> None:
    """The file is empty for a moment. If the worker is killed in that moment, the file stays empty."""
    counted = MmapedDict(str(tmp_path / "counter_1.db"))
    counted.write_value(mmap_key("things", "things_total", [], [], "Things"), 3.0, 0.0)
    counted.close()
    (tmp_path / "counter_2.db").touch()
    metrics = WorkerMetrics(tmp_path)

    def samples() -> dict[str, float]:
        return {sample.name: sample.value for metric in metrics.collect() for sample in metric.samples}

    assert samples()["things_total"] == 3
    for pid in (1, 2):
        (tmp_path / f"{pid}.ended").touch()
    metrics.fold_ended_workers()
    assert [file.name for file in tmp_path.iterdir()] == ["counter_0.db"]
    assert samples()["things_total"] == 3


def test_a_reload_keeps_what_was_counted(metered: MeteredServer) -> None:
    served = metered.value("agentidp_http_requests_total", route="/")
    for _ in range(10):
        metered.get("/")
    before = metered.workers()
    os.kill(metered.main_process(), signal.SIGHUP)
    wait_until(lambda: len(metered.workers()) == 2 and not set(before) & set(metered.workers()))
    for _ in range(10):
        metered.get("/")
    assert metered.value("agentidp_http_requests_total", route="/") == served + 20
    wait_until(lambda: metered.value("agentidp_workers") == 2)


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_files_go_when_the_service_ends_or_its_main_process_is_killed(database_url: str, is_killed: bool) -> None:
    with MeteredServer(database_url) as metered:
        metered.get("/")
        directory, process = metered.metrics_directory(), metered.metrics_process()
        assert directory.stat().st_mode & 0o777 == 0o700
        if is_killed:
            os.kill(metered.main_process(), signal.SIGKILL)
            wait_until(lambda: not directory.exists())
    assert not directory.exists()
    wait_until(lambda: not Path(f"/proc/{process}").exists())
    assert "metrics are not served" not in metered.logs()


def test_a_start_removes_the_files_of_a_service_whose_processes_were_all_killed(
    metered: MeteredServer, database_url: str
) -> None:
    metered.get("/")
    in_use = metered.metrics_directory()
    with MeteredServer(database_url) as killed:
        killed.get("/")
        leftover = killed.metrics_directory()
        # Stopped first, so that no process removes the directory when another process has ended.
        processes = [killed.metrics_process(), killed.main_process(), *killed.workers()]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                os.kill(process, number)
        wait_until(lambda: not any(is_alive(process) for process in processes))
    assert leftover.exists()
    with MeteredServer(database_url) as started:
        started.get("/")
        assert not leftover.exists()
        assert started.metrics_directory().exists()
    assert in_use.exists()


def is_alive(process: int) -> bool:
    """Return whether a process runs. A zombie, whose parent has not waited for it, does not run."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_an_address_that_is_in_use_is_refused_and_ctrl_c_left_to_the_main_process(
    metered: MeteredServer, database_url: str
) -> None:
    second = MeteredServer(database_url, AGENTIDP_METRICS_ADDRESS=metered.metrics_address)
    ended = subprocess.run(second.command, env=second.environment, capture_output=True, text=True, timeout=PATIENCE)
    message = f"Error: cannot listen on {metered.metrics_address}: Address already in use; set AGENTIDP_METRICS_ADDRESS"
    assert (ended.returncode, message in ended.stderr) == (1, True)
    process = metered.metrics_process()
    os.kill(process, signal.SIGINT)
    wait_until(lambda: metered.value("agentidp_workers") == 2)
    assert metered.metrics_process() == process


def test_without_the_setting_no_process_and_no_file_is_made(database_url: str) -> None:
    with MeteredServer(database_url, AGENTIDP_METRICS_ADDRESS="") as server:
        server.get("/")
        main_process = server.main_process()
        wait_until(lambda: len(children(main_process, "gunicorn")) >= 2)
        processes = children(main_process, "gunicorn")
        assert len(processes) == 2
        for process in processes:
            assert "agentidp-metrics-" not in Path(f"/proc/{process}/maps").read_text()
