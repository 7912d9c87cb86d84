"""Stores tokens for the MCP client."""

from __future__ import annotations

from typing import Any


class Tokens:
    """A storage of the MCP SDK for tokens, in memory."""

    def __init__(self) -> None:
        self.tokens: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> None:
        return None

    async def set_client_info(self, client_info: Any) -> None:
        raise AssertionError("nothing is registered dynamically")
