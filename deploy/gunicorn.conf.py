"""gunicorn's settings, in development and in production alike.

The settings and hooks are documented. What the hooks get is an object of gunicorn's, of which these attributes are not,
and there is no public way to any of them: ``cfg`` of the server, for an address that ``--bind`` names on the command
line; ``sockets`` of a worker, which alone has its listening sockets if each worker has its own; and ``wsgi``, the
application that the worker has loaded.
"""

import atexit
import fcntl
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# A heartbeat on a disk that is busy writing can stop a worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108


def _remove(directory: str, process: int) -> None:
    # A worker must not: it runs this at its end as well.
    if os.getpid() == process:
        shutil.rmtree(directory, ignore_errors=True)


def _make_metrics_directory() -> str:
    """Make the directory in which the workers count, and lock it until this process and its children have ended."""
    while True:
        path = tempfile.mkdtemp(prefix="agentidp-metrics-locked-", dir=worker_tmp_dir)
        # The descriptor stays open. The kernel releases the lock, also if the processes are killed.
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)
        # Another service that starts may have removed the directory before it was locked.
        if os.path.isdir(path):  # noqa: PTH112
            return path


# prometheus-client looks for the variable when it is imported. After SIGHUP this file runs again, and the directory
# stays.
if os.environ.get("AGENTIDP_METRICS_ADDRESS") and "agentidp" not in sys.modules:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _make_metrics_directory()
    atexit.register(_remove, os.environ["PROMETHEUS_MULTIPROC_DIR"], os.getpid())

from agentidp.config import ConfigurationError, Settings  # noqa: E402
from agentidp.http.logs import logging_config  # noqa: E402
from agentidp.server.listening import AddressFilter, limit_sending, refuse_busy_address, refuse_exposed_address  # noqa: E402
from agentidp.server.metrics_server import MetricsServer, remove_leftovers  # noqa: E402
from agentidp.server.wiring import parts  # noqa: E402
from agentidp.server.worker_metrics import WorkerSampler  # noqa: E402
from agentidp.services.fair_queue import MAX_REQUESTS  # noqa: E402

try:
    settings = Settings.from_environment()
except ConfigurationError as error:
    raise SystemExit(f"Error: {error}") from None
_, worker_class, reason_for_stock_parts = parts(settings)

# In a list, so that gunicorn takes it for one address, whatever it holds.
bind = [os.environ.get("AGENTIDP_BIND", f"127.0.0.1:{settings.port}")]
# Who may connect to a UNIX socket: its owner and its group, 0660. Without this gunicorn makes it 0777.
umask = 0o117
workers = settings.web_concurrency
# Each request inside the fair queue may block a thread, so eight threads are always left for tokens. On the fast path
# eight threads serve at a time (agentidp/fast_path/worker.py).
threads = MAX_REQUESTS + 8
# One listening socket a worker: with a shared one, kept-alive connections often all land on one worker. What waits in
# the queue of such a socket is reset when its worker stops, so behind a proxy, which renews its connections, the
# workers share one. Of a UNIX socket there is one only: each worker would replace the socket of the one before.
reuse_port = settings.trusted_proxies == 0 and not bind[0].startswith("unix:")
# Longer than nginx keeps an idle connection to us (deploy/nginx.conf), so that nginx is the one that closes.
keepalive = 75
# Ends a worker whose main thread hangs. It does not end a request: other threads serve, and the main thread goes on.
timeout = 30
# For the requests of a worker that stops. Whatever stops gunicorn waits longer: docs/deployment.md, "Timeouts".
graceful_timeout = 30
# More than nginx forwards (its large_client_header_buffers, 8 KB): gunicorn's refusal is in one form for all endpoints.
limit_request_line = 8190
limit_request_field_size = 16_380
limit_request_fields = 10_000
# No forwarded header is trusted, because the next two settings name none. `*` only saves parsing the client's address.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
control_socket_disable = True
logger_class = "agentidp.server.gunicorn_logger.Logger"
logconfig_dict = logging_config(settings.log_level, settings.log_format)


def on_starting(server: Any) -> None:
    """Refuse to start without a database or a secret, and on an address that other machines reach without a proxy,
    gunicorn's own --bind included. Log the address otherwise.
    """
    try:
        settings.database_and_secret()
        for address in server.cfg.bind:
            refuse_exposed_address(address, settings.trusted_proxies)
        if settings.metrics_address:
            refuse_busy_address(settings.metrics_address, hint="set AGENTIDP_METRICS_ADDRESS to another address")
    except ConfigurationError as error:
        raise SystemExit(f"Error: {error}") from None
    logging.getLogger("gunicorn.error").addFilter(AddressFilter(server.cfg.bind))
    if reason_for_stock_parts:
        fields = {"reason": reason_for_stock_parts}
        logging.getLogger("agentidp").warning("the service runs on stock parts", extra={"fields": fields})
    if settings.metrics_address:
        directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        remove_leftovers(directory.parent)
        # Here, where this process has neither a signal handler nor a listening socket that a fork would inherit.
        server.metrics = MetricsServer(settings, directory)
        server.metrics.start()


def post_worker_init(worker: Any) -> None:
    """Let clients that read nothing hold no thread and threads that compute soon make way for others, let the fast path
    replace a thread that is about to block, and count the worker.
    """
    limit_sending(worker.sockets, 30)
    # A token needs the interpreter about ten times, and waits each time for as long as this while a thread computes.
    sys.setswitchinterval(0.0005)
    if hasattr(worker, "give_way"):
        worker.wsgi.extensions["agentidp"].fair_queue.before_blocking = worker.give_way
    if settings.metrics_address:
        WorkerSampler(worker.wsgi.extensions["agentidp"]).start()


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a worker has counted that has ended."""
    if settings.metrics_address:
        server.metrics.worker_ended(worker.pid)


def on_exit(server: Any) -> None:
    """Serve the metrics until the last worker has ended."""
    if settings.metrics_address:
        server.metrics.stop()
