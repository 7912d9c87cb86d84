"""Routes, JSON and audit events that all kinds of stored objects have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.db.sql import Rows
from agentidp.http import schemas
from agentidp.http.errors import Conflict, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response


class ObjectKind:
    """A kind of stored objects, such as resource servers.

    The routes have the names ``create_<type_>``, ``list_<type_>s``, ``get_<type_>``, ``change_<type_>`` and
    ``delete_<type_>``. In the OpenAPI document, a route's name is its ``operationId``.

    :param type_: the kind in names of operations and audit actions, such as ``resource_server``.
    :param blueprint: the blueprint of the routes. Their path is ``/api/v1/`` and the blueprint's name.
    :param schema: the schema of an object in responses.
    :param recorded_members: the members that the audit trail records.
    :param computed_members: the members of *schema* that :meth:`represent` of a subclass adds.
    :param delete_statement: the name of the statement that deletes an object and returns its row.
    :param id_column: the column and path parameter of an object's id. Default: ``<type_>_id``.
    :param scopes: the scope for GET, and the scope for all other methods.
    """

    def __init__(
        self,
        type_: str,
        blueprint: Blueprint,
        schema: type[schemas.ReturnedSchema],
        recorded_members: Iterable[str],
        *,
        delete_statement: str,
        id_column: str | None = None,
        computed_members: Iterable[str] = (),
        scopes: tuple[str, str] = ("agents:read", "agents:write"),
    ) -> None:
        self._type, self._blueprint, self._schema = type_, blueprint, schema
        self._delete_statement, self._id_column = delete_statement, id_column or f"{type_}_id"
        self._read_scope, self._write_scope = scopes
        self._noun = type_.replace("_", " ")
        self._path = f"/api/v1/{blueprint.name}"
        self._object_path = f"{self._path}/<uuid:{self._id_column}>"
        self.represent_settings = schema(only=[*recorded_members]).as_json
        """A function that returns, from an object's row, the members that the audit trail records, as JSON."""
        self._represent = schema(exclude=[*computed_members]).as_json

    def represent(self, row: Any) -> dict[str, Any]:
        """Return the API's JSON object for a row."""
        return self._represent(row)

    def find(self, rows: Rows, object_id: UUID) -> Any:
        """Return the row that has the id *object_id*, or raise ``NotFound`` if no row has this id."""
        return require_row([row for row in rows if getattr(row, self._id_column) == object_id])

    def remove(self, transaction: Transaction, object_id: UUID, **details: Any) -> None:
        """Delete an object, or raise ``NotFound``. Record an audit event, with *details* as further members."""
        row = require_row(transaction.fetch(self._delete_statement, **{self._id_column: object_id}))
        self.record(transaction, before=row, **details)

    def name_conflict(self) -> Conflict:
        """Return the error for a new name that another object already has."""
        return Conflict(f"Another {self._noun} has this name.", details={"name": ["is taken"]})

    def record_addition(
        self, transaction: Transaction, rows: Rows, maximum: int, error_details: dict[str, list[str]] | None = None
    ) -> Any:
        """Record in the audit trail that an object was created, and return its row.

        :param rows: the row of the new object; empty if the organization has the *maximum* number of objects.
        :param error_details: the details of the ``Conflict``; ``None`` for no details.
        :raises Conflict: *rows* is empty.
        """
        if not rows:
            message = f"The organization has {maximum} {self._noun}s; delete one first."
            raise Conflict(message, details=error_details)
        self.record(transaction, after=rows[0])
        return rows[0]

    def record(self, transaction: Transaction, *, before: Any = None, after: Any = None, **details: Any) -> None:
        """Record in the audit trail that an object was created, changed or deleted.

        :param before: the row before the change; ``None`` if the object was created.
        :param after: the row after the change; ``None`` if the object was deleted.
        :param details: further members of the event.
        """
        if after is None:
            verb, recorded_values = "deleted", {"before": self.represent_settings(before) | details}
        else:
            verb, recorded_values = "created", {"after": self.represent_settings(after) | details}
            if before is not None:
                verb, recorded_values = "changed", recorded_values | {"before": self.represent_settings(before)}
        object_id = getattr(before if after is None else after, self._id_column)
        audit.record(transaction, f"{self._type}.{verb}", object_id, **recorded_values)

    def add_create_route(
        self, schema: type[ma.Schema], add: Callable[[Transaction, Settings, dict[str, Any]], Any], description: str
    ) -> None:
        """Add the route that creates an object.

        :param schema: the schema of the request body.
        :param add: creates an object from the loaded body, and returns its row.
        """

        @self._blueprint.arguments(schema)
        @self._blueprint.response(201, self._schema, headers=["Location"])
        @self._blueprint.alt_response(409, "CONFLICT")
        def create(caller: Caller, members: dict[str, Any]) -> Response:
            with caller.transaction() as transaction:
                object_row = add(transaction, caller.settings, members)
            location = f"{self._path}/{getattr(object_row, self._id_column)}"
            return json_response(self.represent(object_row), 201, {"Location": location})

        self._add_route("POST", self._path, f"create_{self._type}", create, description)

    def add_list_route(self, statement: str, description: str, **parameters: Any) -> None:
        """Add the route that lists all objects, in the order in which *statement* returns them."""

        @self._blueprint.response(200, schemas.list_of(self._schema))
        def list_objects(caller: Caller) -> Response:
            return json_response({"data": [self.represent(row) for row in caller.read(statement, **parameters)]})

        self._add_route("GET", self._path, f"list_{self._type}s", list_objects, description)

    def add_get_route(self, statement: str, description: str) -> None:
        """Add the route that returns one object.

        :param statement: returns the object's row; if an organization has few objects, it may return all rows.
        """

        @self._blueprint.response(200, self._schema)
        def get(caller: Caller, **path_ids: UUID) -> Response:
            row = self.find(caller.read(statement, **path_ids), path_ids[self._id_column])
            return json_response(self.represent(row))

        self._add_route("GET", self._object_path, f"get_{self._type}", get, description)

    def add_change_route(
        self,
        schema: type[schemas.ChangeSchema],
        update: Callable[[Transaction, Settings, UUID, dict[str, Any]], Any],
        description: str,
        *,
        has_conflicts: bool = False,
    ) -> None:
        """Add the route that changes an object.

        :param schema: the schema of the request body.
        :param update: changes an object by the loaded body, and returns its new row.
        :param has_conflicts: whether *update* can raise ``Conflict``, so that the OpenAPI document names 409.
        """

        @self._blueprint.arguments(schema)
        @self._blueprint.response(200, self._schema)
        def change(caller: Caller, members: dict[str, Any], **path_ids: UUID) -> Response:
            with caller.transaction() as transaction:
                object_row = update(transaction, caller.settings, path_ids[self._id_column], members)
            return json_response(self.represent(object_row))

        if has_conflicts:
            self._blueprint.alt_response(409, "CONFLICT")(change)
        self._add_route("PATCH", self._object_path, f"change_{self._type}", change, description)

    def add_delete_route(self, description: str, remove: Callable[[Transaction, UUID], None] | None = None) -> None:
        """Add the route that deletes an object by the function *remove* (default: :meth:`remove`)."""

        @self._blueprint.response(204)
        def delete(caller: Caller, **path_ids: UUID) -> Response:
            with caller.transaction() as transaction:
                (remove or self.remove)(transaction, path_ids[self._id_column])
            return Response(status=204)

        self._add_route("DELETE", self._object_path, f"delete_{self._type}", delete, description)

    def _add_route(self, method: str, path: str, name: str, view: Any, description: str) -> None:
        view.__doc__, view.__module__ = description, self._blueprint.import_name
        scope = self._read_scope if method == "GET" else self._write_scope
        self._blueprint.add_url_rule(path, name, bearer(scope)(view), methods=[method])
