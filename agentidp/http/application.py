"""Flask's application class, without what a synchronous service does not need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from agentidp.http.parser import BoundedRequest


class Application(Flask):
    """A Flask application whose views and hooks are plain functions."""

    request_class = BoundedRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """*func* itself. Flask would ask for each hook and view of each request whether it is a coroutine."""
        return func
