"""The metrics of a process for Prometheus. ``server/metrics_server.py`` sums them over the workers and serves them.

If AGENTIDP_METRICS_ADDRESS is set, ``deploy/gunicorn.conf.py`` sets ``PROMETHEUS_MULTIPROC_DIR`` before this module is
imported, so that prometheus-client writes each value to a file that other processes can read.

Labels must have few values, so they never contain addresses, ids or text from clients.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of the latency histograms. A token request takes about 3 ms without load, and
waits for a database connection for at most 5 s by default."""

REQUESTS_NAME = "agentidp_http_requests"
REQUESTS = Counter(REQUESTS_NAME, "HTTP requests", ["route", "method", "status"])

DURATION = Histogram(
    "agentidp_http_request_duration_seconds",
    "Time that the application takes to respond",
    ["route", "method"],
    buckets=LATENCY_BUCKETS,
)

TOKENS_REFUSED = Counter(
    "agentidp_tokens_refused", "Token requests that got an error, by its OAuth error code", ["error"]
)

QUOTAS_EXHAUSTED = Counter(
    "agentidp_quotas_exhausted",
    "Tokens of which a quota had none left: refused, or issued because the quota only observes",
    ["holder", "window", "result"],
)

REJECTIONS = Counter(
    "agentidp_authentications_rejected", "Failed authentications of clients and tokens, by reason", ["reason"]
)

AGENTS_PROVISIONED = Counter(
    "agentidp_agents_provisioned", "Agents that provisioning rules have created at first sight"
)

ISSUER_KEY_FETCHES = Counter(
    "agentidp_issuer_key_fetches", "Fetches of the keys of other issuers, by result: fetched or failed", ["result"]
)

ISSUER_KEYS_MISSING = Counter(
    "agentidp_issuer_keys_missing",
    "Times that keys of another issuer were not there, by cause: fetching, crowded or failed",
    ["cause"],
)

DATABASE_ERRORS = Counter(
    "agentidp_database_errors", "Statements that the database did not carry out, by cause", ["database", "cause"]
)

REPLICA_READS = Counter(
    "agentidp_read_replica_reads",
    "Reads for the read replica, by result: served, or why the primary served them",
    ["result"],
)

REPLICA_STALENESS = Gauge(
    "agentidp_read_replica_staleness_seconds",
    "By how much the read replica's data could be older than the primary's at the last read",
    multiprocess_mode="livemostrecent",
)

POOL_WAITS = Counter(
    "agentidp_database_pool_waits", "Requests that had to wait for a database connection", ["database"]
)

WORKERS = Gauge("agentidp_workers", "Workers that run", multiprocess_mode="livesum")

POOL_CONNECTIONS = Gauge(
    "agentidp_database_pool_connections",
    "Database connections of all workers; sampled every few seconds",
    ["database", "state"],
    multiprocess_mode="livesum",
)

POOL_WAITING = Gauge(
    "agentidp_database_pool_waiting",
    "Requests that wait for a database connection; sampled every few seconds",
    ["database"],
    multiprocess_mode="livesum",
)
