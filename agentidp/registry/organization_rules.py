"""What delegation rules and provisioning rules have in common: an organization's rules of trust with unique names."""

from __future__ import annotations

import json
import uuid
from typing import Any
from uuid import UUID

import marshmallow as ma
import psycopg

from agentidp import audit
from agentidp.db.organization import Transaction
from agentidp.db.sql import Rows
from agentidp.federation.rule_checks import list_warnings
from agentidp.http import schemas
from agentidp.http.errors import Conflict, require_row

MAX_RULES = 20
"""Maximum number of rules of each kind per organization. The kinds are delegation rules and provisioning rules."""


class OrganizationRules:
    """The functions for one kind of an organization's rules: delegation rules or provisioning rules.

    A rule can be added and deleted, but never changes.

    :param noun: the kind in words, such as ``delegation rule``.
    :param fields: the schema of a rule's members.
    :param add_statement: the statement that adds a rule, and returns no row if there are already :data:`MAX_RULES`.
    :param delete_statement: the statement that deletes a rule.
    :param list_statement: the statement that lists the rules, oldest first.
    """

    def __init__(
        self, noun: str, fields: type[ma.Schema], *, add_statement: str, delete_statement: str, list_statement: str
    ) -> None:
        self.new_schema, self.returned_schema = schemas.new_schema(fields), schemas.returned_schema(fields)
        settings = list(self.new_schema().fields)
        self.represent_settings = self.returned_schema(only=settings).as_json
        """Return the members of a rule's row for the audit trail and for a file of ``agentidp apply``."""
        self._represent_without_warnings = self.returned_schema(exclude=["warnings"]).as_json
        self._noun, self._type = noun, noun.replace(" ", "_")
        self._id_column = f"{self._type}_id"
        self._add, self._delete, self._list = add_statement, delete_statement, list_statement

    def add_rule(self, transaction: Transaction, trust: dict[str, Any], **all_columns: Any) -> Any:
        """Create a rule, and return its row, as the class's ``list_statement`` reads it.

        :param trust: the rule of trust, which was checked.
        :param all_columns: the other columns of the new row. The function adds the rule's id and *trust* to them.
        :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
        """
        transaction.fetch("organizations/lock_organization")
        all_columns |= {self._id_column: uuid.uuid4(), "trust": json.dumps(trust)}
        try:
            rule_rows = transaction.fetch(self._add, **all_columns, max_rules=MAX_RULES)
        except psycopg.errors.UniqueViolation:
            raise Conflict(f"Another {self._noun} has this name.", details={"name": ["is taken"]}) from None
        if not rule_rows:
            raise Conflict(f"The organization has {MAX_RULES} {self._noun}s; delete one first.")
        rule_id = all_columns[self._id_column]
        audit.record(transaction, f"{self._type}.created", rule_id, after=self.represent_settings(rule_rows[0]))
        return self.find_rule(transaction.fetch(self._list), rule_id)

    def find_rule(self, rows: Rows, rule_id: UUID) -> Any:
        """Return the row with the rule's id, or raise ``NotFound`` if no row has it."""
        return require_row([row for row in rows if getattr(row, self._id_column) == rule_id])

    def remove_rule(self, transaction: Transaction, rule_id: UUID) -> None:
        """Delete a rule, or raise ``NotFound`` if the organization has no such rule."""
        row = require_row(transaction.fetch(self._delete, **{self._id_column: rule_id}))
        audit.record(transaction, f"{self._type}.deleted", rule_id, before=self.represent_settings(row))

    def represent(self, row: Any) -> dict[str, Any]:
        """Return the API's JSON object for a row of *list_statement*."""
        return self._represent_without_warnings(row) | {"warnings": list_warnings(row.trust)}
