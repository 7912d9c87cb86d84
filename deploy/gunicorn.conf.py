"""gunicorn's settings for development and production.

The settings and hooks are documented by gunicorn. These attributes of the hooks' arguments are not, but have no public
alternative: ``cfg`` of the server, for an address that ``--bind`` sets on the command line; ``sockets`` of a worker,
which are the only references to listening sockets per worker; and ``wsgi``, the application that the worker has loaded.
The logger's method ``access`` is not documented either.
"""

import atexit
import fcntl
import gc
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from gunicorn import glogging

# This directory is in memory, because a busy disk can block a worker's heartbeat, and gunicorn then ends the worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108


def _remove(directory: str, process: int) -> None:
    # Workers inherit this handler and must not remove the directory when they end.
    if os.getpid() == process:
        shutil.rmtree(directory, ignore_errors=True)


def _make_metrics_directory() -> str:
    """Create the workers' metrics directory, and lock it until this process and its children have ended."""
    while True:
        path = tempfile.mkdtemp(prefix="agentidp-metrics-locked-", dir=worker_tmp_dir)
        # The descriptor stays open, and the kernel releases the lock even if the processes are killed.
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)
        # Another service that starts may have removed the directory before it was locked.
        if os.path.isdir(path):  # noqa: PTH112
            return path


# prometheus-client reads PROMETHEUS_MULTIPROC_DIR when agentidp imports it, so the variable must be set before. After
# SIGHUP this file runs again. agentidp is already imported then, so the directory stays the same.
if os.environ.get("AGENTIDP_METRICS_ADDRESS") and "agentidp" not in sys.modules:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _make_metrics_directory()
    atexit.register(_remove, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())

from agentidp.config import ConfigurationError, Settings  # noqa: E402
from agentidp.http.logs import build_logging_config  # noqa: E402
from agentidp.server.listening import (  # noqa: E402
    AddressFilter,
    limit_stalled_sending,
    refuse_busy_address,
    refuse_exposed_address,
)
from agentidp.server.metrics_server import MetricsServer, remove_leftovers  # noqa: E402
from agentidp.server.wiring import choose_classes  # noqa: E402
from agentidp.server.worker_metrics import WorkerSampler  # noqa: E402
from agentidp.services.fair_queue import MAX_REQUESTS  # noqa: E402


class Logger(glogging.Logger):
    """gunicorn's logger without its access log, because the service logs each request itself.

    No setting turns the access log off once ``logconfig_dict`` is set.
    """

    def access(self, *_: object) -> None:
        """Log nothing."""


try:
    settings = Settings.from_environment()
except ConfigurationError as error:
    raise SystemExit(f"Error: {error}") from None
_, worker_class, reason_for_stock_parts = choose_classes(settings)

# The address is in a list, because gunicorn would split a string at commas.
bind = [os.environ.get("AGENTIDP_BIND", f"127.0.0.1:{settings.port}")]
# Only the owner and the group may connect to a UNIX socket (0660). gunicorn's default would be 0777.
umask = 0o117
workers = settings.web_concurrency
# Each request in the fair queue may hold a thread, so eight threads are always left for tokens. A table of these limits
# is in agentidp/services/fair_queue.py.
threads = MAX_REQUESTS + 8
# One listening socket per worker, because with a shared socket one worker often gets all kept-alive connections. But
# connections in the queue of a killed worker's socket are reset. So the workers share a socket behind a proxy, which
# renews its connections. They also share a UNIX socket, because each worker would replace the others'.
reuse_port = settings.trusted_proxies == 0 and not bind[0].startswith("unix:")
# Seconds until an idle connection is closed. nginx closes its idle connections earlier (deploy/nginx.conf), because a
# request that nginx sends while gunicorn closes the connection would be lost.
keepalive = 75
# Seconds after which a worker whose main thread hangs is ended. Requests are not limited, because other threads serve.
timeout = 30
# Seconds to complete the requests of a worker that stops. The process that stops gunicorn must wait longer
# (docs/deployment.md, "Timeouts").
graceful_timeout = 30
# The limits exceed what nginx forwards (large_client_header_buffers, 8 KB), because gunicorn's refusals would not have
# the error format of the endpoint.
limit_request_line = 8190
limit_request_field_size = 16_380
limit_request_fields = 10_000
# gunicorn trusts no forwarded header, because the next two settings name none. `*` only saves parsing the address.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
control_socket_disable = True
logger_class = Logger
logconfig_dict = build_logging_config(settings.log_level, settings.log_format)


def on_starting(server: Any) -> None:
    """Refuse to start with a missing database or secret, or on an address that other machines reach without a proxy.

    Addresses of gunicorn's ``--bind`` are also checked. Start the metrics server.
    """
    try:
        _ = settings.primary_url, settings.instance_secret
        for address in server.cfg.bind:
            refuse_exposed_address(address, settings.trusted_proxies)
        if settings.metrics_address:
            refuse_busy_address(settings.metrics_address, advice="set AGENTIDP_METRICS_ADDRESS to another address")
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error}") from None
    logging.getLogger("gunicorn.error").addFilter(AddressFilter(server.cfg.bind))
    if reason_for_stock_parts:
        fields = {"reason": reason_for_stock_parts}
        logging.getLogger("agentidp").warning("the service runs on stock parts", extra={"fields": fields})
    if settings.metrics_address:
        directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        remove_leftovers(directory.parent)
        # The server starts here, because this process has no signal handlers and listening sockets yet to be inherited.
        server.metrics = MetricsServer(settings, directory)
        server.metrics.start()


def post_worker_init(worker: Any) -> None:
    """Set up a worker: its time limit for sending, the switching of threads, garbage collection, and its metrics."""
    limit_stalled_sending(worker.sockets, 30)
    # A token request needs the interpreter about ten times, and may wait this long each time for another thread.
    sys.setswitchinterval(0.0005)
    # A full garbage collection stops all threads. freeze() exempts the objects that the worker has loaded, which
    # shortens a collection from 60 to 6 ms. The thresholds make full collections ten times rarer, because reading
    # 20,000 agents caused three of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)
    if hasattr(worker, "give_way"):
        worker.wsgi.extensions["agentidp"].fair_queue.before_blocking = worker.give_way
    if settings.metrics_address:
        WorkerSampler(worker.wsgi.extensions["agentidp"]).start()


def child_exit(server: Any, worker: Any) -> None:
    """Keep the metrics of a worker that has ended."""
    if settings.metrics_address:
        server.metrics.retire_worker(worker.pid)


def on_exit(server: Any) -> None:
    """Serve the metrics until the last worker has ended."""
    if settings.metrics_address:
        server.metrics.stop()
