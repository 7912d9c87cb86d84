"""Declares the endpoints that return usage of a period, and builds their responses."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import PARAMETER_SETS, Period, PeriodArguments, PeriodSchema, read_period
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response

PERIOD_ARGUMENTS = {argument_name for argument_names in PARAMETER_SETS for argument_name in argument_names}

View = Callable[..., Response]


def usage_route(
    blueprint: Blueprint,
    path: str,
    response_schema: type[ma.Schema],
    arguments: PeriodArguments | None = None,
    *,
    tool: str | None = None,
    max_tool_rows: int = 100,
) -> Callable[[View], View]:
    """Declare a route that needs the scope ``analytics:read``. Its view gets the caller and the requested period.

    :param path: the path below ``/api/v1/analytics``, with a leading slash.
    :param arguments: the schema of the query, if it has other members or defaults than :class:`PeriodArguments`. The
        view gets all arguments except those of the period, as keyword arguments.
    :param tool: the name of the MCP tool for the route; ``None`` for no tool.
    """

    def decorate(view: View) -> View:
        # bearer() stands above the decorators whose declarations it reads.
        @blueprint.route(f"/api/v1/analytics{path}")
        @bearer("analytics:read")
        @blueprint.tool(tool, rows=max_tool_rows)
        @blueprint.data_response(response_schema)
        @blueprint.arguments(arguments or PeriodArguments(), location="query")
        @wraps(view)
        def view_of_period(caller: Caller, query: dict[str, Any], **path_ids: UUID) -> Response:
            other_arguments = {argument: value for argument, value in query.items() if argument not in PERIOD_ARGUMENTS}
            return view(caller, read_period(query, caller.at), **other_arguments, **path_ids)

        protected_view: View = view_of_period
        return protected_view

    return decorate


def period_schema(name: str, row_schema: type[ma.Schema], **members: ma.fields.Field[Any]) -> type[ma.Schema]:
    """Return the schema of a response with the organization, the period, further *members*, and rows in ``data``.

    :param name: the name of the schema in the OpenAPI document.
    """
    rows = ma.fields.List(ma.fields.Nested(row_schema), required=True)
    return type(f"{name}Schema", (PeriodSchema,), {**members, "data": rows})


def respond(
    caller: Caller,
    period: Period,
    rows: list[Any],
    row_schema: type[ma.Schema],
    represent: Callable[[Any], Any] = lambda row: row,
    **members: Any,
) -> Response:
    """Return a response whose body has a schema of :func:`period_schema`."""
    body = {"tenantId": caller.organization_id, **members, **period.described, "data": rows}
    return data_response(body, row_schema, represent)
