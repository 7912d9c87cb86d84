"""Common code of delegation rules and provisioning rules, which are rules of trust with names."""

from __future__ import annotations

import json
import uuid
from typing import Any

import marshmallow as ma
import psycopg

from agentidp.caller.object_kind import ObjectKind
from agentidp.db.organization import Transaction
from agentidp.federation.rule_checks import list_warnings
from agentidp.http import schemas
from agentidp.http.openapi import Blueprint

MAX_RULES = 20
"""Maximum number of rules of each kind per organization. The kinds are delegation rules and provisioning rules."""


class OrganizationRules(ObjectKind):
    """One kind of rules of an organization: delegation rules or provisioning rules. A rule never changes.

    :param fields: the schema of a rule's members.
    :param add_statement: the statement that adds a rule, and returns no row if there are already :data:`MAX_RULES`.
    :param list_statement: the statement that lists the rules, oldest first.
    """

    def __init__(
        self,
        type_: str,
        blueprint: Blueprint,
        fields: type[ma.Schema],
        *,
        add_statement: str,
        list_statement: str,
        delete_statement: str,
    ) -> None:
        self.new_schema, self.returned_schema = schemas.new_schema(fields), schemas.returned_schema(fields)
        recorded_members = self.new_schema().fields
        super().__init__(
            type_,
            blueprint,
            self.returned_schema,
            recorded_members,
            delete_statement=delete_statement,
            computed_members=["warnings"],
        )
        self._add_statement, self._list_statement = add_statement, list_statement

    def represent(self, row: Any) -> dict[str, Any]:
        """Return the API's JSON object for the row of a rule, with warnings."""
        return super().represent(row) | {"warnings": list_warnings(row.trust)}

    def add_rule(self, transaction: Transaction, trust: dict[str, Any], **columns: Any) -> Any:
        """Create a rule, and return its row.

        :param trust: the checked rule of trust.
        :param columns: the other columns of the new row, except its id.
        :raises Conflict: another rule has the name, or the organization has the maximum number of rules.
        """
        transaction.fetch("organizations/lock_organization")
        rule_id = uuid.uuid4()
        columns |= {self._id_column: rule_id, "trust": json.dumps(trust)}
        try:
            rule_rows = transaction.fetch(self._add_statement, **columns, max_rules=MAX_RULES)
        except psycopg.errors.UniqueViolation:
            raise self.name_conflict() from None
        self.record_addition(transaction, rule_rows, MAX_RULES)
        return self.find(transaction.fetch(self._list_statement), rule_id)
