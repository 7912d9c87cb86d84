"""Commands on a database."""

from tests.cli.conftest import run, shared_run

__all__ = ["run", "shared_run"]
