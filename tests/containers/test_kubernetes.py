"""The manifests of ``deploy/kubernetes``: against Kubernetes' own schemas, and started by ``podman kube play``."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agentidp.server.serve import gunicorn_config
from tests.containers.podman import NGINX, PODMAN, POSTGRES, SERVICE, podman, run_anyway, shell_blocks
from tests.deploy.deployment import FORM, fetch, make_certificate
from tests.factories import PATIENCE, ROOT, SECRET_KEY, free_port, wait_until

MANIFESTS = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.34"
"""The version whose schemas are used."""

OWNER_PASSWORD, SERVICE_PASSWORD = "owner-password", "service-password"


def objects(name: str) -> list[dict[str, Any]]:
    """The objects of a manifest."""
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


[WATCH] = objects("watch.yaml")
ALL = {one["kind"]: one for file in sorted(MANIFESTS.glob("*.yaml")) for one in objects(file.name) if one != WATCH}
"""The manifests by kind, except the one of watch. Of the network policies, it has the policy that admits clients."""

POD = ALL["Deployment"]["spec"]["template"]
CONFINED = [POD, ALL["Job"]["spec"]["template"], WATCH["spec"]["template"]]


@pytest.mark.parametrize("name", [file.name for file in sorted(MANIFESTS.glob("*.yaml"))])
def test_manifests_follow_the_schemas_of_kubernetes(name: str) -> None:
    for manifest in objects(name):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_service_the_budget_and_the_policy_select_the_servers_and_not_the_job() -> None:
    servers = {
        "app.kubernetes.io/name": "agentidp",
        "app.kubernetes.io/component": "server",
    }
    assert POD["metadata"]["labels"] == servers
    assert ALL["Job"]["spec"]["template"]["metadata"]["labels"] != servers
    assert ALL["Service"]["spec"]["selector"] == servers
    selectors = [
        ALL["Deployment"]["spec"]["selector"],
        ALL["PodDisruptionBudget"]["spec"]["selector"],
        ALL["NetworkPolicy"]["spec"]["podSelector"],
    ]
    assert [selector["matchLabels"] for selector in selectors] == [servers] * 3
    of_watch = WATCH["spec"]["template"]["metadata"]["labels"]
    assert WATCH["spec"]["selector"]["matchLabels"] == of_watch != servers
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in objects("network-policy.yaml")}
    assert policies["agentidp-alerts"]["podSelector"]["matchLabels"] == of_watch
    [let_in] = ALL["NetworkPolicy"]["spec"]["ingress"]
    assert let_in == {"ports": [{"protocol": "TCP", "port": 8000}]}
    assert ALL["PodDisruptionBudget"]["spec"]["minAvailable"] < ALL["Deployment"]["spec"]["replicas"]


def test_every_container_is_confined() -> None:
    for template in CONFINED:
        spec = template["spec"]
        assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False)
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_the_times_of_a_stop_fit_together() -> None:
    service, nginx = (
        int(container["lifecycle"]["preStop"]["exec"]["command"][1]) for container in POD["spec"]["containers"]
    )
    [graceful] = re.findall(r"^graceful_timeout = (\d+)$", gunicorn_config().read_text(), re.MULTILINE)
    assert nginx < service
    assert service + int(graceful) < POD["spec"]["terminationGracePeriodSeconds"]


def test_the_documentation_makes_each_secret_and_config_map_that_the_manifests_name() -> None:
    commands = shell_blocks("Kubernetes")
    made = set(re.findall(r"kubectl create (?:secret (?:generic|tls)|configmap) (\S+)", commands))
    named = {
        value
        for template in CONFINED
        for value in re.findall(r"'(?:secretName|name)': '(agentidp-[a-z-]+)'", str(template))
    }
    assert made == named
    assert set(re.findall(r"--filename (\S+)", commands)) == {file.name for file in MANIFESTS.glob("*.yaml")}


@dataclass
class Database:
    """PostgreSQL in a separate network, with the roles that roles.sh creates."""

    name: str
    network: str

    def url(self, role: str, password: str) -> str:
        """Return the URL for a role in the form of the documentation."""
        return f"postgresql://{role}:{password}@{self.name}/agentidp"


@pytest.fixture(scope="module")
def database(images: None) -> Iterator[Database]:
    """A database that is ready."""
    made = Database(f"agentidp-kube-postgres-{os.getpid()}", f"agentidp-kube-{os.getpid()}")
    with contextlib.ExitStack() as stack:
        podman("network", "create", made.network)
        stack.callback(podman, "network", "rm", made.network)
        roles = ROOT / "deploy" / "containers" / "roles.sh"
        environment = {
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "superuser-password",
            "OWNER_PASSWORD": OWNER_PASSWORD,
            "SERVICE_PASSWORD": SERVICE_PASSWORD,
            "PGDATA": "/var/lib/postgresql/data/17",
        }
        podman(
            *("run", "--detach", "--name", made.name, "--network", made.network),
            *(f"--env={name}={value}" for name, value in environment.items()),
            f"--volume={roles}:/docker-entrypoint-initdb.d/roles.sh:ro",
            POSTGRES,
        )
        stack.callback(podman, "rm", "--force", "--volumes", made.name)
        ready = [*PODMAN, "exec", made.name, "pg_isready", "--host", "127.0.0.1"]
        wait_until(lambda: run_anyway(*ready).returncode == 0)
        yield made


def secret(name: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the object that ``kubectl create secret`` creates."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


@pytest.fixture(scope="module")
def play(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that starts a manifest with other names of images and host, and with the documented objects."""
    directory = tmp_path_factory.mktemp("kube")
    make_certificate(directory)
    site = {
        file.name: file.read_text()
        for file in (ROOT / "deploy" / "nginx.conf", ROOT / "deploy" / "containers" / "nginx.sh")
    }
    beside = [
        secret("agentidp-secret-key", {"secret_key": SECRET_KEY}),
        secret("agentidp-owner", {"database_url": database.url("agentidp", OWNER_PASSWORD)}),
        secret("agentidp-service", {"database_url": database.url("agentidp_login", SERVICE_PASSWORD)}),
        secret("agentidp-tls", {name: (directory / name).read_text() for name in ("tls.crt", "tls.key")}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "agentidp-nginx"}, "data": site},
    ]
    with contextlib.ExitStack() as stack:
        # What Podman makes of a secret and a config map that are mounted, and does not remove.
        stack.callback(podman, "volume", "rm", "--force", "agentidp-nginx", "agentidp-tls")

        def start(name: str, *options: str) -> Path:
            text = "---\n".join((MANIFESTS / file).read_text() for file in ("settings.yaml", name))
            for old, new in {
                "registry.example.com/agentidp:1.0.0": SERVICE,
                "docker.io/library/nginx:stable": NGINX,
                "idp.example.com": "localhost",
            }.items():
                text = text.replace(old, new)
            file = directory / name
            file.write_text("---\n".join([*(yaml.safe_dump(manifest) for manifest in beside), text]))
            stack.callback(run_anyway, *PODMAN, "kube", "down", "--force", file)
            podman("kube", "play", "--network", database.network, *options, file)
            return file

        start.certificate = directory / "tls.crt"  # type: ignore[attr-defined]
        yield start


def test_the_job_migrates_and_the_deployment_serves_and_counts(database: Database, play: Any) -> None:
    job = play("migrate.yaml")
    [migrate] = podman("ps", "--all", "--quiet", "--filter", "name=agentidp-migrate.*-migrate$").split()
    ended = podman("wait", migrate).strip()
    logs = run_anyway(*PODMAN, "logs", migrate)
    assert (ended, logs.stderr) == ("0", "")
    assert "0001_release_1.0.0\n" in logs.stdout
    podman("kube", "down", "--force", job)

    port = free_port()
    deployment = play("agentidp.yaml", "--publish", f"127.0.0.1:{port}:8000")
    names = podman("ps", "--format", "{{.Names}}", "--filter", "name=agentidp-pod").split()
    [service] = [name for name in names if name.endswith("-agentidp")]
    operator = [
        *("run", "--rm", f"--network={database.network}", f"--env=AGENTIDP_SECRET_KEY={SECRET_KEY}"),
        f"--env=AGENTIDP_DATABASE_URL={database.url('agentidp', OWNER_PASSWORD)}",
        *(SERVICE, "agentidp"),
    ]
    organization = podman(*operator, "organization", "create", "Acme").strip()
    agent = podman(*operator, "agent", "create", "builder", "--organization", organization).strip()
    secret = podman(*operator, "credential", "create", "--agent", agent).split()[2]
    wait_until(lambda: run_anyway(*PODMAN, "exec", service, "agentidp-healthcheck", "/readyz").returncode == 0)

    context = ssl.create_default_context(cafile=play.certificate)
    with contextlib.closing(
        http.client.HTTPSConnection("localhost", port, context=context, timeout=PATIENCE)
    ) as connection:
        body = f"grant_type=client_credentials&client_id={agent}&client_secret={secret}".encode()
        issued = fetch(connection, "POST", "/api/v1/token", body, FORM)
        bearer = {"Authorization": f"Bearer {json.loads(issued.body)['access_token']}"}
        trend = json.loads(fetch(connection, "GET", "/api/v1/analytics/tokens?days=2", headers=bearer).body)
    # Two days, because one can end meanwhile.
    assert (trend["tenantId"], sum(day["count"] for day in trend["data"])) == (organization, 1)

    # Podman takes the probes over, and leaves their time to systemd.
    assert run_anyway(*PODMAN, "healthcheck", "run", service).returncode == 0
    assert podman("exec", service, "id", "-u").strip() == "10001"
    podman("kube", "down", "--force", deployment)

    watch = play("watch.yaml")
    count = "select count(*) from finding_evaluations"
    psql = ("exec", database.name, "psql", "--username=postgres", "--dbname=agentidp", "-qAtc", count)
    wait_until(lambda: podman(*psql).strip() == "1")
    podman("kube", "down", "--force", watch)
