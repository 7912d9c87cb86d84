"""The commands of *Install on Debian* in docs/deployment.md, in their order, in a directory instead of the root.

Programs that act on the whole machine have stand-ins: systemctl writes down what it is asked for, and systemd-run
runs a command with the environment that it is given. The units then run as in tests/deploy/test_deploy.py.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentidp.db.embedded_postgres import temporary
from tests.deploy.deployment import DEPLOY, Unit, make_certificate
from tests.factories import PATIENCE, ROOT, clean_environment
from tests.helpers.guide import DOCUMENTED, commands_of, make_database

STAND_INS = {
    "systemctl": 'echo "$@" >> "$HERE/systemctl.log"',
    # The site names the certificate and the logs.
    "nginx": """
sed -i "s#/etc/agentidp#$HERE/etc#; s#/var/log/nginx#$HERE#" "$HERE/conf.d/agentidp.conf"
exec "$REAL_NGINX" -c "$HERE/nginx.conf" -e "$HERE/nginx.log" "$@"
""",
    # Values of an EnvironmentFile are no shell words.
    "systemd-run": """
while :; do case $1 in
  --property=EnvironmentFile=*) while IFS= read -r line; do export "$line"; done < "${1#*=*=}" ;;
  --setenv=*) export "${1#*=}" ;;
  --*) ;;
  *) exec "$@" ;;
esac; shift; done
""",
}


class InstalledUnit(Unit):
    """``agentidp.service`` as it was copied, with the secret and the settings that the commands have made."""

    def __init__(self, directory: Path) -> None:
        (directory / "run").mkdir()
        super().__init__(directory / "run", "")
        shutil.copy(directory / "etc" / "secret_key", directory / "run")
        self._directory = directory
        for line in (directory / "etc" / "environment").read_text().splitlines():
            name, _, value = line.partition("=")
            self._environment[name] = value

    def _words(self, command: str) -> list[str]:
        return shlex.split(moved(command, self._directory))


def moved(script: str, directory: Path) -> str:
    """A script or a file whose absolute paths are below *directory*."""
    places = {
        "/opt/agentidp": "opt",
        "/etc/agentidp": "etc",
        "/etc/nginx/conf.d": "conf.d",
        "/etc/nginx/nginx.conf": "nginx.conf",
        "/etc/systemd/system": "units",
        "/usr/local/sbin/agentidp": "sbin/agentidp",
    }
    for absolute, place in places.items():
        script = script.replace(absolute, f"{directory}/{place}")
    return script


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory with the files that Debian has before the second step."""
    for name in ("bin", "conf.d", "units", "sbin", "etc"):
        (tmp_path / name).mkdir()
    for name, script in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\nset -e\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    make_certificate(tmp_path / "etc")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid;\nevents {{\n\tworker_connections 768;\n}}\n"
        f"http {{\ninclude {tmp_path}/conf.d/*.conf;\n}}\n"
    )
    return tmp_path


def run(script: str, machine: Path, **environment: str) -> str:
    """Run commands in the checkout until one fails, and return their output."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert nginx, "nginx must be installed"
    done = subprocess.run(
        ["sh", "-eu", "-c", moved(script, machine)],
        cwd=ROOT,
        env={
            **clean_environment(),
            **{"PATH": f"{machine}/bin:{machine}/sbin:{os.environ['PATH']}", "HERE": str(machine), "REAL_NGINX": nginx},
            # The packages that the tests run with instead of those of an index.
            **{"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"},
            **{"PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        },
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def made_url() -> Iterator[str]:
    """The URL of the database that the first step creates, on a server of its own."""
    with temporary() as postgres:
        yield make_database(postgres.url, "install")


def test_the_commands_lead_to_a_service_that_serves(machine: Path, made_url: str) -> None:
    _, install, site, start, command, use = commands_of("deployment.md", "## Install on Debian")
    assert DOCUMENTED in install
    here = sysconfig.get_paths()["purelib"]
    # pip would also install files of an earlier build that the checkout no longer has.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    run(install.replace(DOCUMENTED, made_url), machine, PYTHONPATH=here)
    # What pip would have installed. A path in such a file comes after the copy of AgentIdP.
    [packages] = (machine / "opt" / "lib").glob("python3*/site-packages")
    (packages / "of_the_tests.pth").write_text(here)
    assert (packages / "agentidp" / "__init__.py").exists()
    gunicorn = machine / "opt" / "bin" / "gunicorn"
    gunicorn.write_text(f"#!{gunicorn.with_name('python')}\nfrom gunicorn.app.wsgiapp import run\n\nrun()\n")
    gunicorn.chmod(0o755)
    assert [(machine / "etc" / name).stat().st_mode & 0o777 for name in ("secret_key", "environment")] == [0o600] * 2

    run(site + start, machine)
    run(site, machine)
    # Repeated commands change nothing further.
    nginx = (machine / "nginx.conf").read_text()
    assert [nginx.count(line) for line in ("worker_rlimit_nofile 20000;", "worker_connections 8192;")] == [1, 1]
    shipped = packages / "agentidp" / "deploy"
    assert (machine / "etc" / "gunicorn.conf.py").resolve() == shipped / "gunicorn.conf.py"
    for unit in ("agentidp.service", "agentidp.socket", "agentidp-watch.service"):
        assert (machine / "units" / unit).read_bytes() == (DEPLOY / unit).read_bytes()
    assert (machine / "systemctl.log").read_text().splitlines() == [
        "daemon-reload",
        "enable --now agentidp.socket agentidp.service agentidp-watch.service",
        "reload nginx",
    ]

    with InstalledUnit(machine) as service:
        socket = f"curl --silent --fail --unix-socket {service.path} http://localhost"
        printed = run(command + use.replace("curl https://idp.example.com", socket), machine)
    assert re.search(r"^ok\tsigning keys\t", printed, re.M)
    assert not re.search(r"^failed\t", printed, re.M)
    assert re.search(r"^org-[0-9a-f-]{36}", printed, re.M)
    assert printed.rstrip().endswith('{"status":"ok"}')
