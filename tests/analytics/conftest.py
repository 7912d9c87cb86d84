"""The tests of the analytics share an application; each has two organizations and a clock of its own."""

from tests.sharing import app, cast, client, clock, database_url

__all__ = ["app", "cast", "client", "clock", "database_url"]
