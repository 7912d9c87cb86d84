"""Calls AgentIdP with the client that openapi-python-client has generated. Reads JSON, and writes JSON."""

from __future__ import annotations

import json
import sys

from client import AuthenticatedClient
from client.api.agent_usage import agent_usage
from client.api.token_trend import token_trend
from client.models import AgentUsageInclude

given = json.load(sys.stdin)
client = AuthenticatedClient(given["url"], token=given["token"])
trend = token_trend.sync(client=client, days=3)
month = token_trend.sync(client=client, month=given["month"])
agents = agent_usage.sync(client=client, include=AgentUsageInclude.NAME)
error = token_trend.sync(client=client, days=3, month=given["month"])
json.dump(
    {
        "trend": [item.count for item in trend.data],
        "month": [item.count for item in month.data],
        "agents": [[item.agent_name, item.token_count] for item in agents.data],
        "error": {"code": error.code, "details": error.details.to_dict()},
    },
    sys.stdout,
)
