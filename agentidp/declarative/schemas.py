"""The schemas of a file: the members that the API can set, with the rules of the API.

The schemas only check a file and load no defaults into it, so members that the file leaves out stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import marshmallow as ma

from agentidp.alerts.target_fields import AlertTargetFields
from agentidp.http import schemas
from agentidp.registry.agents import STATUSES, AgentFields, NewAgentSchema
from agentidp.registry.credentials import RuleSchema
from agentidp.registry.delegation_rules import DelegationRuleFields
from agentidp.registry.openid_providers import OpenidProviderFields
from agentidp.registry.organizations import OrganizationFields
from agentidp.registry.provisioning import NewProvisioningRuleSchema
from agentidp.registry.quotas import QuotasSchema
from agentidp.registry.resource_servers import ResourceServerFields

# A file for agentidp apply contains no client secret, so this schema leaves it out.
_OPENID_PROVIDER_SCHEMA = schemas.new_schema(OpenidProviderFields, "clientSecret")


def _list_field(schema: type[ma.Schema]) -> ma.fields.List[Any]:
    return ma.fields.List(ma.fields.Nested(schema), error_messages={"invalid": "must be a list"})


class _NamedSchema(ma.Schema):
    """The schema of an object in a file. Only the member ``name`` is required."""

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name == "name"


class _AgentSchema(_NamedSchema, schemas.ChangeSchema, AgentFields):
    """The schema of an agent in a file. It has the members of the API's PATCH, so that a file can set the status."""

    class Meta(schemas.ChangeSchema.Meta):
        exclude = schemas.list_read_only_names(AgentFields)

    quotas = ma.fields.Nested(QuotasSchema)
    trust = _list_field(RuleSchema)


class _ResourceServerSchema(ResourceServerFields):
    """The schema of a resource server in a file. Its agent is identified by name instead of by id."""

    class Meta:
        exclude = ("agentId", *schemas.list_read_only_names(ResourceServerFields))

    agent = schemas.Text(1, schemas.MAX_NAME, allow_none=True, load_default=None)


class _DelegationRuleSchema(DelegationRuleFields):
    """The schema of a delegation rule in a file. Its agents are identified by name instead of by id."""

    class Meta:
        exclude = ("agentIds", *schemas.list_read_only_names(DelegationRuleFields))

    agents = schemas.Items(
        schemas.Text(1, schemas.MAX_NAME),
        validate=DelegationRuleFields().fields["agentIds"].validators,
        load_default=list,
    )


class _AlertTargetSchema(AlertTargetFields):
    """The schema of an alert target in a file, whose ``url`` names an environment variable that has the secret URL."""

    class Meta:
        exclude = schemas.list_read_only_names(AlertTargetFields)

    url: Any = ma.fields.String(
        validate=ma.validate.Regexp(
            r"\$[A-Za-z_][A-Za-z0-9_]*\Z",
            error="must be the name of an environment variable that contains the address, such as $ON_CALL_URL",
        ),
        error_messages={"invalid": "must be a string"},
    )


class _OrganizationSchema(_NamedSchema, schemas.ChangeSchema, OrganizationFields):
    """The schema of an organization in a file, including its agents and other objects."""

    class Meta(schemas.ChangeSchema.Meta):
        exclude = ("createdAt",)

    organizationId = ma.fields.String(
        validate=ma.validate.Length(1, error="must not be empty"), error_messages={"invalid": "must be a string"}
    )
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES, error="must be one of " + ", ".join(STATUSES)))
    resourceServers = _list_field(_ResourceServerSchema)
    openidProviders = _list_field(_OPENID_PROVIDER_SCHEMA)
    provisioningRules = _list_field(NewProvisioningRuleSchema)
    delegationRules = _list_field(_DelegationRuleSchema)
    agents = _list_field(_AgentSchema)
    quotas = ma.fields.Nested(QuotasSchema)
    alertTargets = _list_field(_AlertTargetSchema)


class DocumentSchema(ma.Schema):
    """The schema of a YAML document. A file may contain several documents."""

    organizations = _list_field(_OrganizationSchema)
    organizations.required = True


def normalize_instants(fields: Mapping[str, ma.fields.Field[Any]], content: dict[str, Any]) -> dict[str, Any]:
    """Return a file's content with all instants in the format of the API, so that equal instants are equal strings."""
    normalized_content = dict(content)
    for member_name, member_value in content.items():
        match fields[member_name]:
            case schemas.Instant() as field if member_value is not None:
                normalized_content[member_name] = schemas.timestamp(field.deserialize(member_value))
            case ma.fields.List(inner=ma.fields.Nested(schema=schema)):
                normalized_content[member_name] = [normalize_instants(schema.fields, item) for item in member_value]
    return normalized_content


class Kind(NamedTuple):
    """A kind of object that organizations have in lists, such as agents.

    :param type: the noun for an object of this kind, such as ``resource server``.
    :param section: the name of the list in a file, such as ``resourceServers``.
    :param key: the name of the member that identifies an object within its organization, such as ``resource``.
    :param id_name: the name of the member that contains the id. Files do not contain it.
    :param defaults: the values of members that the file omits, for new objects.
    :param members: the names of all other members in a file.
    """

    type: str
    section: str
    key: str
    id_name: str
    defaults: dict[str, Any]
    members: tuple[str, ...]


def _make_kind(section: str, key: str, schema: type[ma.Schema], new_schema: type[ma.Schema] | None = None) -> Kind:
    """Return the kind of the objects that are in the list *section* of a file.

    :param schema: the schema of an object in the file.
    :param new_schema: the schema of an object that must be created, with the default values. By default *schema*.
    """
    default_values = {
        field_name: field.default
        for field_name, field in (new_schema or schema)().fields.items()
        if isinstance(field, schemas.Member) and field.default is not ma.missing
    }
    member_names = tuple(field_name for field_name in schema().fields if field_name != key)
    singular_noun = section.removesuffix("s")
    return Kind(schemas.words_of(singular_noun), section, key, f"{singular_noun}Id", default_values, member_names)


AGENT = _make_kind("agents", "name", _AgentSchema, NewAgentSchema)
RESOURCE_SERVER = _make_kind("resourceServers", "resource", _ResourceServerSchema)
PROVISIONING_RULE = _make_kind("provisioningRules", "name", NewProvisioningRuleSchema)
DELEGATION_RULE = _make_kind("delegationRules", "name", _DelegationRuleSchema)
ALERT_TARGET = _make_kind("alertTargets", "name", _AlertTargetSchema)._replace(id_name="targetId")
OPENID_PROVIDER = _make_kind("openidProviders", "issuer", _OPENID_PROVIDER_SCHEMA)
KINDS = (RESOURCE_SERVER, PROVISIONING_RULE, AGENT, DELEGATION_RULE, ALERT_TARGET, OPENID_PROVIDER)
"""All kinds of objects, in the order in which new objects are created. Agents and rules need the scopes of resource
servers in the same file, and delegation rules need agents."""

ORGANIZATION_MEMBERS = tuple(
    name
    for name, field in _OrganizationSchema().fields.items()
    if name != "organizationId" and not isinstance(field, ma.fields.List)
)
"""The members of an organization, except its id and its lists of objects."""

UNSET: dict[str, Any] = {"agentProvisioning": False, "status": "active", "quotas": {}, "trust": []}
"""Initial values of the members that cannot be set when an organization or an agent is created."""
