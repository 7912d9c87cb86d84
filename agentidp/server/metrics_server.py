"""The process that serves ``/metrics`` for all workers, because each worker knows only its own counters.

gunicorn's main process forks this process before the first worker (``deploy/gunicorn.conf.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from agentidp.clock import utc_now
from agentidp.config import Settings
from agentidp.metrics import REQUESTS_NAME
from agentidp.operations.instance_metrics import InstanceMetrics
from agentidp.paths import TOKEN_ENDPOINT
from agentidp.server.listening import parse_address

logger = logging.getLogger("agentidp")

CHECK_INTERVAL = 0.5
"""Seconds between two checks for ended workers or an ended main process of gunicorn."""

_ENDED = ".ended"


def remove_leftovers(parent: Path) -> None:
    """Remove the metrics directories in *parent* that this process's user owns and no running process has locked."""
    for directory in parent.glob("agentidp-metrics-locked-*"):
        # O_NOFOLLOW refuses links, which other users can create in a directory that everybody may write to.
        with contextlib.suppress(OSError):
            lock_descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock_descriptor).st_uid == os.geteuid():
                    fcntl.flock(lock_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(directory)
            finally:
                os.close(lock_descriptor)


class MetricsServer:
    """Starts and stops the metrics process from gunicorn's main process. Workers write to *directory*."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings, self._directory = settings, directory
        self._process = 0

    def start(self) -> None:
        """Fork the metrics process. Call this while the caller has only one thread and no listening socket."""
        main_pid = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            # The child must not return, because it would continue as a second main process of gunicorn.
            try:
                _serve_metrics(self._settings, self._directory, main_pid)
            except SystemExit:
                pass
            except BaseException as error:
                logger.error("metrics are not served", extra={"fields": {"reason": str(error)}})
            finally:
                os._exit(0)

    def retire_worker(self, pid: int) -> None:
        """Remove the gauges of an ended worker, and mark its counters for ``WorkerMetrics.fold_ended_workers``."""
        mark_process_dead(pid, str(self._directory))
        with contextlib.suppress(FileNotFoundError):
            (self._directory / f"{pid}{_ENDED}").touch()

    def stop(self) -> None:
        """Send SIGTERM to the metrics process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGTERM)


class WorkerMetrics:
    """The sums of the metrics of all workers since the start, including ended workers."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the sums of the workers' metrics, and the number of issued tokens."""
        with self._lock:
            file_paths = [str(metric_file) for metric_file in self._directory.glob("*.db") if _has_content(metric_file)]
            metrics = list(MultiProcessCollector.merge(file_paths))
        yield from metrics
        issued_tokens_metric = CounterMetricFamily("agentidp_tokens_issued", "Tokens that were issued to clients")
        issued_tokens_metric.add_metric([], sum(_count_issued(metric) for metric in metrics))
        yield issued_tokens_metric

    def fold_ended_workers(self) -> None:
        """Add the metrics of ended workers to the files for process ID 0, which no worker has."""
        for marker_file in self._directory.glob(f"*{_ENDED}"):
            worker_pid = marker_file.name.removesuffix(_ENDED)
            with self._lock:
                for metric_kind in ("counter", "histogram"):
                    _add_file_to_total(
                        self._directory / f"{metric_kind}_{worker_pid}.db", self._directory / f"{metric_kind}_0.db"
                    )
                marker_file.unlink()


def _count_issued(metric: Metric) -> float:
    if metric.name != REQUESTS_NAME:
        return 0
    return sum(
        sample.value
        for sample in metric.samples
        if (sample.labels["route"], sample.labels["status"]) == (TOKEN_ENDPOINT, "200")
    )


def _has_content(file: Path) -> bool:
    # A worker creates an empty file and then sets its size. If the worker is killed in between, the file stays empty.
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False


def _add_file_to_total(worker_file: Path, total_file: Path) -> None:
    if not _has_content(worker_file):
        worker_file.unlink(missing_ok=True)
        return
    sums_by_key = MmapedDict(str(total_file))
    for sample_key, sample_value, _, _ in MmapedDict.read_all_values_from_file(str(worker_file)):
        sums_by_key.write_value(sample_key, sums_by_key.read_value(sample_key)[0] + sample_value, 0.0)
    sums_by_key.close()
    worker_file.unlink()


def _serve_metrics(settings: Settings, directory: Path, main_pid: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # Ctrl-C reaches all processes of the terminal, but this process must outlive the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker_metrics, instance_metrics = WorkerMetrics(directory), InstanceMetrics(settings, utc_now)
    metrics_registry = CollectorRegistry()
    metrics_registry.register(worker_metrics)
    metrics_registry.register(instance_metrics)
    host, port = parse_address(settings.metrics_address or "")
    try:
        start_http_server(port, host or "0.0.0.0", metrics_registry)  # noqa: S104 - if the setting says so
        threading.Thread(target=instance_metrics.keep_reading, name="instance-metrics", daemon=True).start()
        log_fields = {"address": settings.metrics_address, "pid": os.getpid()}
        logger.info("metrics are served", extra={"fields": log_fields})
        while os.getppid() == main_pid:
            worker_metrics.fold_ended_workers()
            time.sleep(CHECK_INTERVAL)
    finally:
        # gunicorn's main process removes this directory when it ends, but cannot do so if it is killed.
        shutil.rmtree(directory, ignore_errors=True)
