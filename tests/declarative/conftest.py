"""Commands on a database."""

from tests.cli.conftest import run, service, shared_run

__all__ = ["run", "service", "shared_run"]
