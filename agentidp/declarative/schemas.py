"""The schemas of a file: the members that the API can set, with the rules of the API.

The schemas only check a file and load no defaults into it, so members that the file leaves out stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import marshmallow as ma

from agentidp.alerts.target_fields import AlertTargetFields
from agentidp.http.schemas import MAX_NAME, ChangeSchema, Instant, Items, Member, Text, read_only, timestamp, words_of
from agentidp.registry.agents import STATUSES, AgentFields, NewAgentSchema
from agentidp.registry.credentials import RuleSchema
from agentidp.registry.delegation_rules import DelegationRuleFields
from agentidp.registry.openid_providers import OpenidProviderFields
from agentidp.registry.organizations import OrganizationFields
from agentidp.registry.provisioning import NewProvisioningRuleSchema
from agentidp.registry.quotas import QuotasSchema
from agentidp.registry.resource_servers import ResourceServerFields


def _list_field(schema: type[ma.Schema]) -> ma.fields.List[Any]:
    return ma.fields.List(ma.fields.Nested(schema), error_messages={"invalid": "must be a list"})


class _NamedSchema(ma.Schema):
    """An object in a file. Only its name is required."""

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name == "name"


class _AgentSchema(_NamedSchema, ChangeSchema, AgentFields):
    """An agent in a file, with the members of the API's PATCH, because a file can also set the status."""

    class Meta(ChangeSchema.Meta):
        exclude = read_only(AgentFields)

    quotas = ma.fields.Nested(QuotasSchema)
    trust = _list_field(RuleSchema)


class _ResourceServerSchema(ResourceServerFields):
    """A resource server in a file, with the name of its agent in place of the id."""

    class Meta:
        exclude = ("agentId", *read_only(ResourceServerFields))

    agent = Text(1, MAX_NAME, allow_none=True, load_default=None)


class _DelegationRuleSchema(DelegationRuleFields):
    """A delegation rule in a file, with the names of its agents in place of their ids."""

    class Meta:
        exclude = ("agentIds", *read_only(DelegationRuleFields))

    agents = Items(Text(1, MAX_NAME), validate=DelegationRuleFields().fields["agentIds"].validators, load_default=list)


class _AlertTargetSchema(AlertTargetFields):
    """An alert target in a file. Its ``url`` names an environment variable, because a file contains no secrets."""

    class Meta:
        exclude = read_only(AlertTargetFields)

    url: Any = ma.fields.String(
        validate=ma.validate.Regexp(
            r"\$[A-Za-z_][A-Za-z0-9_]*\Z",
            error="must be the name of an environment variable that contains the address, such as $ON_CALL_URL",
        ),
        error_messages={"invalid": "must be a string"},
    )


class _OpenidProviderSchema(OpenidProviderFields):
    """An OpenID provider without its client secret, because files contain no secrets."""

    class Meta:
        exclude = ("clientSecret", *read_only(OpenidProviderFields))


class _OrganizationSchema(_NamedSchema, ChangeSchema, OrganizationFields):
    """An organization in a file, with its objects. A list that the file leaves out is neither compared nor changed."""

    class Meta(ChangeSchema.Meta):
        exclude = ("createdAt",)

    organizationId = ma.fields.String(
        validate=ma.validate.Length(1, error="must not be empty"), error_messages={"invalid": "must be a string"}
    )
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES, error="must be one of " + ", ".join(STATUSES)))
    resourceServers = _list_field(_ResourceServerSchema)
    openidProviders = _list_field(_OpenidProviderSchema)
    provisioningRules = _list_field(NewProvisioningRuleSchema)
    delegationRules = _list_field(_DelegationRuleSchema)
    agents = _list_field(_AgentSchema)
    quotas = ma.fields.Nested(QuotasSchema)
    alertTargets = _list_field(_AlertTargetSchema)


class DocumentSchema(ma.Schema):
    """One YAML document of a file."""

    organizations = _list_field(_OrganizationSchema)
    organizations.required = True


def normalize_instants(fields: Mapping[str, ma.fields.Field[Any]], content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a checked file with each instant in the API's format, so that instants can be compared."""
    normalized_content = dict(content)
    for field_name, field_value in content.items():
        match fields[field_name]:
            case Instant() as field if field_value is not None:
                normalized_content[field_name] = timestamp(field.deserialize(field_value))
            case ma.fields.List(inner=ma.fields.Nested(schema=schema)):
                normalized_content[field_name] = [
                    normalize_instants(schema.fields, list_item) for list_item in field_value
                ]
    return normalized_content


class Kind(NamedTuple):
    """A kind of object of which an organization has several, such as agents.

    :param type: the words for such an object.
    :param section: the name of the list in a file.
    :param key: the member that identifies an object within its organization.
    :param id_name: the member with the id, which files do not have.
    :param defaults: the values for members of a new object that the file leaves out.
    :param members: the members in a file, except the key.
    """

    type: str
    section: str
    key: str
    id_name: str
    defaults: dict[str, Any]
    members: tuple[str, ...]


def _make_kind(section: str, key: str, schema: type[ma.Schema], new_schema: type[ma.Schema] | None = None) -> Kind:
    defaults = {
        field_name: field.default
        for field_name, field in (new_schema or schema)().fields.items()
        if isinstance(field, Member) and field.default is not ma.missing
    }
    member_names = tuple(field_name for field_name in schema().fields if field_name != key)
    singular_noun = section.removesuffix("s")
    return Kind(words_of(singular_noun), section, key, f"{singular_noun}Id", defaults, member_names)


AGENT = _make_kind("agents", "name", _AgentSchema, NewAgentSchema)
RESOURCE_SERVER = _make_kind("resourceServers", "resource", _ResourceServerSchema)
PROVISIONING_RULE = _make_kind("provisioningRules", "name", NewProvisioningRuleSchema)
DELEGATION_RULE = _make_kind("delegationRules", "name", _DelegationRuleSchema)
ALERT_TARGET = _make_kind("alertTargets", "name", _AlertTargetSchema)._replace(id_name="targetId")
OPENID_PROVIDER = _make_kind("openidProviders", "issuer", _OpenidProviderSchema)
KINDS = (RESOURCE_SERVER, PROVISIONING_RULE, AGENT, DELEGATION_RULE, ALERT_TARGET, OPENID_PROVIDER)
"""All kinds, in the order of creation: agents and rules may need a scope of a resource server that the same file
registers, and delegation rules name agents."""

ORGANIZATION_MEMBERS = tuple(
    name
    for name, field in _OrganizationSchema().fields.items()
    if name != "organizationId" and not isinstance(field, ma.fields.List)
)
"""The members of an organization itself, without its lists of objects."""

UNSET: dict[str, Any] = {"agentProvisioning": False, "status": "active", "quotas": {}, "trust": []}
"""Values of members that a creation cannot set, as long as nobody has changed them. The default is ``None``."""
