"""Podman and Docker Compose as the tests use them: on a machine without systemd, in a network of the machine's own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.factories import ROOT, clean_environment, wait_until

BASE_IMAGE = "docker.io/library/debian:trixie-slim"
SERVICE, POSTGRES, NGINX = (f"localhost/agentidp-test-{name}" for name in ("service", "postgres", "nginx"))
"""The images that the tests build."""

# The only runtime in some places where control groups are of version 1.
RUNTIME = ["--runtime", "runc"] if shutil.which("runc") else []
PODMAN = ["podman", *RUNTIME]

# A build installs packages, for which it needs what this machine's pip and apt have as settings: mounted for the build
# only, so that nothing of it gets into an image.
SETTINGS_OF_MACHINE = [
    "/etc/pip.conf",
    "/etc/xdg/pip",
    "/etc/apt/apt.conf.d/99artifact-registry",
    "/etc/ssl/certs/ca-certificates.crt",
]
BUILD = [
    *PODMAN,
    "build",
    # Other formats have no health check.
    *("--format", "docker", "--pull=never", "--network", "host", "--quiet"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
    *(f"--volume={path}:{path}:ro" for path in SETTINGS_OF_MACHINE if Path(path).exists()),
]

# The documentation says docker. Building needs the machine's settings, which Compose cannot pass on.
DOCKER = f"""#!/bin/sh
case "$1 $2" in
    "compose build") exec {" ".join(BUILD)} --tag "$AGENTIDP_IMAGE" {ROOT} ;;
    compose*) shift; exec docker-compose "$@" ;;
    *) exec {" ".join(PODMAN)} "$@" ;;
esac
"""


def missing() -> str | None:
    """Return a sentence about what this machine lacks to run containers, or ``None``."""
    for program in ("podman", "docker-compose"):
        if not shutil.which(program):
            return f"{program} is not installed."
    if subprocess.run(["podman", "image", "exists", BASE_IMAGE], capture_output=True, check=False).returncode:
        return f"There is no image {BASE_IMAGE} here to build on."
    return None


def run(*command: str | Path, **options: object) -> str:
    """Run a command, and return its standard output. If it fails, fail the test and show both outputs."""
    result = run_anyway(*command, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def run_anyway(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail."""
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload,no-any-return]


def podman(*arguments: str | Path) -> str:
    """Run Podman, and return its standard output."""
    return run(*PODMAN, *arguments)


def build_images() -> None:
    """Build the three images. Unchanged layers come from Podman's cache."""
    with Path(tempfile.gettempdir(), "agentidp-test-images.lock").open("w") as lock:
        # The tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = Path(__file__).parent
        run(*BUILD, "--tag", POSTGRES, "--file", here / "postgres.Dockerfile", here)
        run(*BUILD, "--tag", NGINX, "--file", here / "nginx.Dockerfile", here)
        run(*BUILD, "--tag", SERVICE, ROOT)


@contextlib.contextmanager
def docker_api(directory: Path) -> Iterator[str]:
    """Run Podman with Docker's API, which Compose needs, and yield the address for ``DOCKER_HOST``."""
    socket = directory / "podman.sock"
    command = [*PODMAN, "system", "service", "--time", "0", f"unix://{socket}"]
    with (directory / "podman.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until(socket.is_socket)
            yield f"unix://{socket}"
        finally:
            process.terminate()


@contextlib.contextmanager
def health_checks(label: str) -> Iterator[None]:
    """Run the health checks of containers with a label during the ``with`` block, because Compose waits until they are
    healthy. Podman leaves health checks to systemd, which may not be running.
    """
    end = threading.Event()
    unhealthy = [f"--filter=health={status}" for status in ("starting", "unhealthy")]

    def beat() -> None:
        while not end.wait(0.5):
            for container in podman("ps", "--quiet", f"--filter=label={label}", *unhealthy).split():
                run_anyway(*PODMAN, "healthcheck", "run", container)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def shell_blocks(heading: str) -> str:
    """Return the commands below a heading of docs/containers.md, up to the next heading."""
    text = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    [section] = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return "".join(blocks)


class Checkout:
    """A directory with the files that the documentation's commands need, and a Compose project of its own."""

    def __init__(self, directory: Path, project: str, host: str, port: int) -> None:
        self.directory, self.project, self.port = directory, project, port
        shutil.copytree(ROOT / "deploy", directory / "deploy")
        shutil.copy(ROOT / "compose.yaml", directory)
        programs = directory / "bin"
        programs.mkdir()
        (programs / "docker").write_text(DOCKER)
        (programs / "docker").chmod(0o755)
        self.environment = clean_environment("COMPOSE_") | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "DOCKER_HOST": host,
            "COMPOSE_PROJECT_NAME": project,
            "AGENTIDP_IMAGE": SERVICE,
            "POSTGRES_IMAGE": POSTGRES,
            "NGINX_IMAGE": NGINX,
            "PUBLISH": f"127.0.0.1:{port}",
        }

    def try_shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run commands of the documentation, which may fail, against this project's port."""
        script = script.replace("http://localhost:3000", f"http://localhost:{self.port}")
        return run_anyway("bash", "-euo", "pipefail", "-c", script, cwd=self.directory, env=self.environment)

    def shell(self, script: str) -> str:
        """Run commands of the documentation, and return their standard output."""
        result = self.try_shell(script)
        assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def sql(self, statement: str, user: str = "postgres") -> str:
        """Return the rows of a statement, as psql prints them."""
        command = ["docker-compose", "exec", "-T", "postgres", "psql", "-v", "ON_ERROR_STOP=1", "-qAt"]
        script = [*command, "-U", user, "-d", "agentidp"]
        return run(*script, cwd=self.directory, env=self.environment, input=statement).strip()

    def inside(self, service: str, *command: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command, which may fail, in a service's container."""
        return run_anyway(*PODMAN, "exec", *options, self.container(service), *command)

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}-{service}-1"

    def exit_code(self, service: str) -> int:
        """Return the exit code of a service's container."""
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.container(service)))
