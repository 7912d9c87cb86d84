"""Containers run if Podman, Docker Compose and the base image are here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers import podman
from tests.factories import free_port


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    os.environ["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"


@pytest.fixture(scope="session")
def images() -> None:
    """Build the images, or skip the test if this machine cannot build them."""
    if reason := podman.missing():
        pytest.skip(reason)
    podman.build_images()


@pytest.fixture(scope="session")
def docker_host(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Podman's version of Docker's API."""
    with podman.docker_api(tmp_path_factory.mktemp("podman")) as host:
        yield host


@pytest.fixture(scope="module")
def check_out(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], podman.Checkout]]:
    """A function that makes a checkout with its own Compose project. Both are removed at the end, with the data."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> podman.Checkout:
            directory: Path = tmp_path_factory.mktemp(name)
            project = f"agentidp-{name}-{os.getpid()}"
            checkout = podman.Checkout(directory, project, docker_host, free_port())
            stack.enter_context(podman.health_checks(f"com.docker.compose.project={project}"))
            stack.callback(checkout.try_shell, "docker compose down --volumes --timeout 5")
            return checkout

        yield make
