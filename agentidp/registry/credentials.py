"""``/api/v1/agents/{agentId}/credentials``: the secrets, keys and rules of trust with which an agent gets tokens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, request

from agentidp import audit
from agentidp.caller import Caller, bearer
from agentidp.config import Settings
from agentidp.db.organization import Transaction
from agentidp.db.sql import Rows
from agentidp.federation import rule_checks
from agentidp.federation.rule import rule_selector
from agentidp.federation.rule_checks import RuleRefused
from agentidp.federation.rule_text import CLAIMS_TYPED_AS, JWKS_TYPED_AS, format_claims, parse_claims, parse_jwk_set
from agentidp.http import schemas
from agentidp.http.errors import Conflict, NotFound, ValidationError, require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import json_response
from agentidp.jose.jwk import MAX_KEYS, build_jwk_schema, check_public_jwk, check_public_jwks
from agentidp.oauth.client_authentication import PUBLIC
from agentidp.oauth.client_secret import PATTERN, hash_secret, new_secret
from agentidp.oauth.metadata import JwksSchema
from agentidp.registry.agents import end_tokens

blueprint = Blueprint("credentials", __name__, description="Credentials of an agent")

MAX_CREDENTIALS = 20
"""Maximum number of unrevoked credentials per agent."""

MAX_LABEL = 100
"""Maximum number of characters of a credential's label."""

TYPES = ("secret", "key", "federated", "public")
PUBLIC_JWKS = json.loads(PUBLIC)
"""The value of the column ``jwks`` for a public client."""

_VALUE = {"type": ["string", "integer", "boolean"]}
_KEYS = [{"required": ["jwk"]}, {"required": ["jwks"]}]
_RULE = ("issuer", "subject", "claims", "audience", "jwksUri")
"""Members that only a credential of the type ``federated`` has."""
_NO_RULE = {"not": {"anyOf": [{"required": [name]} for name in _RULE]}}


def _build_type_rule(type_: str, then: dict[str, Any], otherwise: dict[str, Any]) -> dict[str, Any]:
    condition = {"required": ["type"], "properties": {"type": {"const": type_}}}
    return {"if": condition, "then": then, "else": otherwise}


class RuleText(schemas.Member, ma.fields.String):
    """A field for a string in a rule of trust, with a maximum number of characters."""

    def __init__(self, maximum: int, **kwargs: Any) -> None:
        self.maximum = maximum
        super().__init__(metadata={"minLength": 1, "maxLength": maximum}, **kwargs)


class RuleObject(schemas.Member, ma.fields.Dict):
    """A field for a JSON object in a rule of trust, which people type as text.

    :param parse: returns the object for a typed text or typed lines.
    :param format_: returns the text that people would type for an object.
    """

    maximum = None

    def __init__(
        self, kind: str, typed_as: str, parse: Callable[[Any], Any], format_: Callable[[Any], str], **kwargs: Any
    ) -> None:
        self.kind, self.typed_as, self._parse, self._format = kind, typed_as, parse, format_
        super().__init__(**kwargs)

    def parse_input(self, user_input: Any) -> Any:
        """Return the JSON object that a user typed as text or lines; an empty object for an empty input."""
        try:
            return self._parse(user_input) if user_input else {}
        except RuleRefused as refused:
            raise ma.ValidationError(str(refused)) from None

    def format_input(self, value: Any) -> str:
        """Return the text that people would type for an object."""
        return self._format(value) if value else ""


class RuleSchema(ma.Schema):
    """The members of a rule of trust, whose values :func:`check_trust` checks."""

    issuer = RuleText(
        rule_checks.MAX_URL,
        required=True,
        description="The required `iss`: an https URL, or `spiffe://` and a trust domain",
        metavar="URL",
    )
    subject = RuleText(rule_checks.MAX_VALUE, description="The required `sub`. It may end in `*` after a `:` or `/`")
    claims = RuleObject(
        "items",
        CLAIMS_TYPED_AS,
        parse_claims,
        lambda claims: "\n".join(format_claims(claims)),
        option="--claim",
        metavar="NAME=VALUE",
        description="Other required claims, by name or JSON Pointer: a value, or a list of accepted values",
        metadata={
            "maxProperties": rule_checks.MAX_CLAIMS,
            "additionalProperties": {
                "anyOf": [_VALUE, {"type": "array", "minItems": 1, "maxItems": rule_checks.MAX_VALUES, "items": _VALUE}]
            },
        },
    )
    audience = RuleText(
        rule_checks.MAX_VALUE,
        description="The required `aud`, which must be the only audience. Default: this server's issuer. Default for a "
        "provisioning rule: this server's issuer followed by `/` and the organization's id. Default for a delegation "
        "rule: the `client_id` of the acting agent",
    )
    jwksUri = RuleText(
        rule_checks.MAX_URL,
        words="address of the keys",
        option="--jwks-uri",
        metavar="URL",
        description="Address of the issuer's keys. Default: the address in the issuer's metadata",
    )
    jwks: schemas.Member = RuleObject(
        "document",
        JWKS_TYPED_AS,
        parse_jwk_set,
        json.dumps,
        words="keys of the issuer",
        option="--jwks",
        metavar="FILE",
        description="A JWK Set (RFC 7517 section 5): public keys of the client, or of an issuer without reachable keys",
        metadata={
            "required": ["keys"],
            "properties": {"keys": {"type": "array", "minItems": 1, "maxItems": MAX_KEYS, "items": build_jwk_schema()}},
        },
    )


class CredentialFields(RuleSchema):
    """The members of a credential. Only the type ``federated`` has the members of a rule of trust."""

    credentialId = ma.fields.UUID(attribute="credential_id", dump_only=True)
    type = schemas.Choice(
        TYPES,
        description="The default is `key` with `jwk` or `jwks`, and `secret` without them. A client on people's "
        "computers, which cannot keep a secret, has the type `public`, and gets only tokens for people's grants",
    )
    label = schemas.Text(
        1,
        MAX_LABEL,
        load_default=None,
        description="A note for people, for example where the credential is used",
    )
    jwk = ma.fields.Dict(
        load_only=True,
        metadata=build_jwk_schema()
        | {"description": "A public key: RSA of 2048 to 4096 bits, P-256, P-384 or Ed25519"},
    )
    createdAt = schemas.Instant(attribute="created_at", dump_only=True)
    expiresAt = schemas.Instant(
        attribute="expires_at",
        load_default=None,
        words="day on which it expires",
        description="Time in the future, from which the credential gets no tokens",
        nothing="never",
    )
    lastUsedAt = schemas.Instant(attribute="last_used_at", dump_only=True, allow_none=True)
    warnings = ma.fields.List(
        ma.fields.String(),
        dump_only=True,
        metadata={"description": "Warnings about the subjects that the rule accepts"},
    )

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """Make the fields of a rule of trust optional, because only federated credentials have these fields."""
        if field_name in _RULE:
            field_obj.required = False


class NewCredentialSchema(CredentialFields):
    """The body of a request that creates a credential. Without a body, a secret is created."""

    class Meta:
        exclude = schemas.list_read_only_names(CredentialFields)
        json_schema = {
            "not": {"required": ["jwk", "jwks"]},
            "allOf": [
                _build_type_rule("federated", {"required": ["issuer"], "not": {"required": ["jwk"]}}, _NO_RULE),
                _build_type_rule("key", {"anyOf": _KEYS}, {}),
                _build_type_rule("secret", {"not": {"anyOf": _KEYS}}, {}),
                _build_type_rule("public", {"not": {"anyOf": _KEYS}}, {}),
            ],
        }

    @ma.post_load
    def collect_keys_and_rule(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Set ``jwks`` to the checked keys and ``rule`` to the unchecked rule of trust, or to ``None`` if missing."""
        credential_type = data.pop("type", None)
        trust_rule = {member_name: data.pop(member_name) for member_name in _RULE if member_name in data}
        if credential_type == "federated":
            if "jwk" in data:
                raise ma.ValidationError("is not allowed for the type federated, whose keys are in jwks", "jwk")
            return data | {"jwks": None, "rule": trust_rule | {"jwks": data.get("jwks")}}
        for member_name in trust_rule:
            raise ma.ValidationError("is allowed only for the type federated", member_name)
        jwk, public_keys = data.pop("jwk", None), data.pop("jwks", None)
        if credential_type is not None and (credential_type == "key") != (jwk is not None or public_keys is not None):
            raise ma.ValidationError("must be key if there is a jwk or jwks, and otherwise secret or public", "type")
        data["rule"] = None
        if credential_type == "public":
            return data | {"jwks": PUBLIC_JWKS}
        if jwk is not None and public_keys is not None:
            raise ma.ValidationError("must be left out if there is a jwk", "jwks")
        try:
            if jwk is not None:
                data["jwks"] = [check_public_jwk(jwk)]
            else:
                data["jwks"] = None if public_keys is None else check_public_jwks(public_keys)
        except ValueError as error:
            raise ma.ValidationError(str(error), "jwk" if jwk is not None else "jwks") from None
        return data


class RevocationArguments(ma.Schema):
    endTokens = ma.fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        error_messages={"invalid": "must be true or false"},
        metadata={"description": "Whether all tokens that were issued to the agent before now end as well"},
    )


class CredentialSchema(schemas.ReturnedSchema, CredentialFields):
    """A credential without its secret."""

    class Meta:
        exclude = schemas.list_write_only_names(CredentialFields)

    optional: tuple[str, ...] = (*_RULE, "warnings")

    jwks = schemas.Group(JwksSchema, allow_none=True, description="Null for a secret, and if an issuer publishes them")


class NewCredentialAnswerSchema(CredentialSchema):
    """A new credential, with its secret, which no other response contains."""

    optional = (*CredentialSchema.optional, "clientSecret")

    clientId = ma.fields.UUID()
    clientSecret = ma.fields.String(
        metadata={"description": "Absent unless the credential is a secret", "pattern": f"^{PATTERN}$"}
    )


_credential_as_json = CredentialSchema().as_json
_settings_as_json = CredentialSchema(only=[name for name in NewCredentialSchema().fields if name != "jwk"]).as_json
"""Returns the members of a credential that the audit trail records, without the secret."""


@blueprint.route("/api/v1/agents/<uuid:agent_id>/credentials", methods=["POST"])
@bearer("agents:write")
@blueprint.arguments(NewCredentialSchema, required=False)
@blueprint.response(201, NewCredentialAnswerSchema, headers=["Location"])
@blueprint.alt_response(409, "CONFLICT")
def create_credential(caller: Caller, members: dict[str, Any], agent_id: UUID) -> Response:
    """Create a credential. Its secret is shown only in this response."""
    refuse_past_expiry(members["expires_at"], caller.at)
    trust_rule = members["rule"] and check_trust(members["rule"], caller.settings, caller.organization_id)
    with caller.transaction() as transaction:
        credential_row, client_secret = add_credential(transaction, agent_id, **members | {"rule": trust_rule})
    response_body = represent(credential_row) | {"clientId": str(agent_id)}
    if client_secret is not None:
        response_body["clientSecret"] = client_secret
    return json_response(response_body, 201, {"Location": f"{request.path}/{response_body['credentialId']}"})


@blueprint.route("/api/v1/agents/<uuid:agent_id>/credentials")
@bearer("agents:read")
@blueprint.response(200, schemas.list_of(CredentialSchema))
def list_credentials(caller: Caller, agent_id: UUID) -> Response:
    """List the credentials of an agent."""
    credential_rows = select_credentials(caller.read("agents/list_credentials", agent_id=agent_id))
    return json_response({"data": [represent(credential_row) for credential_row in credential_rows]})


@blueprint.route("/api/v1/agents/<uuid:agent_id>/credentials/<uuid:credential_id>", methods=["DELETE"])
@bearer("agents:write")
@blueprint.arguments(RevocationArguments, location="query")
@blueprint.response(204)
def revoke_credential(caller: Caller, arguments: dict[str, Any], agent_id: UUID, credential_id: UUID) -> Response:
    """Revoke a credential. Tokens issued with the credential work until they expire, unless `endTokens` ends them."""
    if arguments["endTokens"]:
        # The caller is admitted in a separate transaction, because the admission locks a row, and end_tokens() must
        # lock the organization's quotas before any other row.
        caller.admit()
    with caller.transaction() as transaction:
        if arguments["endTokens"]:
            end_tokens(transaction, agent_id, caller.clock)
        end_credential(transaction, agent_id, credential_id)
    return Response(status=204)


def select_credentials(rows: Rows) -> Rows:
    """Return the rows of ``agents/list_credentials`` without the empty row of an agent without credentials.

    :raises NotFound: the agent does not exist.
    """
    if not rows:
        raise NotFound
    return [row for row in rows if row.credential_id is not None]


def refuse_past_expiry(expires_at: datetime | None, at: datetime) -> None:
    """Raise an error for the member ``expiresAt`` if it is not after *at*. Accept ``None``."""
    if expires_at is not None and expires_at <= at:
        raise ValidationError(details={"expiresAt": ["must be in the future"]})


def check_trust(
    rule: dict[str, Any],
    settings: Settings,
    organization_id: str,
    *,
    check: Callable[..., dict[str, Any]] = rule_checks.check_rule,
    within: str | None = None,
) -> dict[str, Any]:
    """Check the rule of trust in a request's body, and return it in the stored form.

    :param check: the function of :mod:`agentidp.federation.rule_checks` for this kind of rule.
    :param within: the member of the body that contains the rule; ``None`` if the body is the rule.
    :raises ValidationError: the rule is refused. The error names *within* or, if it is ``None``, the rule's member.
    """
    try:
        return check(
            rule,
            own_issuer=settings.issuer,
            organization_id=organization_id,
            allows_loopback=settings.allows_loopback_issuers,
        )
    except RuleRefused as refused:
        details = {within: [f"{refused.member} {refused}"]} if within else {refused.member: [str(refused)]}
        raise ValidationError(details=details) from None


def replace_rules(transaction: Transaction, agent_id: UUID, rules: list[dict[str, Any]]) -> None:
    """Replace an agent's rules of trust by checked rules. A rule that the agent already has keeps its credential."""
    credential_rows = transaction.fetch("oauth/list_rules_of_trust", agent_id=agent_id)
    for credential_row in credential_rows:
        if credential_row.trust not in rules:
            end_credential(transaction, agent_id, credential_row.credential_id)
    stored_rules = [credential_row.trust for credential_row in credential_rows]
    for trust_rule in rules:
        if trust_rule not in stored_rules:
            add_credential(transaction, agent_id, expires_at=None, rule=trust_rule)


def end_credential(transaction: Transaction, agent_id: UUID, credential_id: UUID) -> None:
    """Revoke a credential, or raise ``NotFound`` if it does not exist or is revoked."""
    row = require_row(transaction.fetch("agents/revoke_credential", agent_id=agent_id, credential_id=credential_id))
    audit.record(transaction, "credential.revoked", credential_id, before=_represent_settings(agent_id, row))


def add_credential(
    transaction: Transaction,
    agent_id: UUID,
    *,
    expires_at: datetime | None,
    label: str | None = None,
    jwks: list[dict[str, Any]] | None = None,
    rule: dict[str, Any] | None = None,
) -> tuple[Any, str | None]:
    """Create a credential: public keys, a rule of trust or, without both, a secret.

    :param jwks: public keys as :class:`NewCredentialSchema` loads them.
    :param rule: a rule of trust that :func:`check_trust` has checked.
    :returns: the credential's row, and the secret (``None`` for keys or a rule), which the row does not contain.
    :raises NotFound: the organization has no such agent.
    :raises Conflict: the agent has the maximum number of credentials.
    """
    # A separate statement takes the lock, so that the statement after it counts credentials that were added during the
    # wait for the lock.
    require_row(transaction.fetch("agents/lock_agent", agent_id=agent_id))
    credential_id = uuid.uuid4()
    client_secret = new_secret() if jwks is None and rule is None else None
    credential_rows = transaction.fetch(
        "agents/add_credential",
        agent_id=agent_id,
        credential_id=credential_id,
        secret_hash=None if client_secret is None else hash_secret(client_secret),
        jwks=None if jwks is None else json.dumps(jwks),
        trust=None if rule is None else json.dumps(rule),
        trust_selector=None if rule is None else rule_selector(rule["issuer"], rule.get("subject")),
        label=label,
        expires_at=expires_at,
        max_credentials=MAX_CREDENTIALS,
    )
    if not credential_rows:
        raise Conflict(
            f"The agent has {MAX_CREDENTIALS} credentials; revoke one first.",
            details={"credentials": [f"at most {MAX_CREDENTIALS} at a time"]},
        )
    [credential_row] = credential_rows
    audit.record(transaction, "credential.created", credential_id, after=_represent_settings(agent_id, credential_row))
    return credential_row, client_secret


def _represent_settings(agent_id: UUID, credential: Any) -> dict[str, Any]:
    return {"agentId": str(agent_id), **_settings_as_json(_add_type_and_rule(credential))}


def represent(credential: Any) -> dict[str, Any]:
    """Return the API's JSON object for the row of a credential."""
    return _credential_as_json(_add_type_and_rule(credential))


def _add_type_and_rule(credential: Any) -> dict[str, Any]:
    credential_columns: dict[str, Any] = credential._asdict()
    if credential.trust:
        warnings = rule_checks.list_warnings(credential.trust)
        return credential_columns | {"type": "federated", "jwks": None, **credential.trust, "warnings": warnings}
    if credential.jwks == PUBLIC_JWKS:
        return credential_columns | {"type": "public", "jwks": None}
    if credential.jwks is not None:
        return credential_columns | {"type": "key", "jwks": {"keys": credential.jwks}}
    return credential_columns | {"type": "secret", "jwks": None}
