"""Reads, checks and writes the file that describes a fleet, and reports the place of each mistake."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from agentidp.config import ConfigurationError
from agentidp.declarative.schemas import KINDS, DocumentSchema, normalize_instants
from agentidp.http.text import text_refusal

MAX_PROBLEMS = 20
"""Maximum number of problems in a file that the error message lists. Further problems are only counted."""

MAX_REPEATED = 50_000
"""Maximum number of values that aliases repeat in a document. Otherwise, a small file could fill the memory."""

_YAML_TAG = "tag:yaml.org,2002:"
_NOT_IN_JSON = {f"{_YAML_TAG}{name}" for name in ("binary", "omap", "pairs", "set")}

Path = tuple[str | int, ...]
"""The path to a value in a document: the names of members and the indexes in lists that lead to the value."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A YAML loader that reads an instant as text, because JSON has no instants."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_YAML_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class DeclaredOrganization:
    """An organization that a file describes.

    :param content: the organization, as JSON of the API.
    :param describe_place: returns the place in the file, for errors, of a path below the organization.
    """

    content: dict[str, Any]
    describe_place: Callable[..., str]


def read_document(text: bytes, source: str) -> list[DeclaredOrganization]:
    """Return the organizations that a file describes in one or several YAML documents.

    :param source: the file's name, for errors.
    :raises ConfigurationError: the message has a line per problem: file, line, path and rule.
    """
    organizations: list[DeclaredOrganization] = []
    problems: list[str] = []
    for root_node, document in _parse_documents(text, source):
        if document is None:
            continue
        describe_place = partial(_describe_place, source, root_node)
        messages: Any = DocumentSchema().validate(document) if isinstance(document, dict) else ["must be a mapping"]
        problems += [f"{describe_place(*path)}: {broken_rule}" for path, broken_rule in _flatten_messages(messages, ())]
        if not messages:
            for index, content in enumerate(normalize_instants(DocumentSchema().fields, document)["organizations"]):
                organizations.append(DeclaredOrganization(content, partial(describe_place, "organizations", index)))
    problems = problems or _list_repetitions(organizations)
    if len(problems) > MAX_PROBLEMS:
        problems[MAX_PROBLEMS:] = [f"and {len(problems) - MAX_PROBLEMS} more"]
    if problems:
        raise ConfigurationError("\n".join(problems))
    if not organizations:
        raise ConfigurationError(f"{source}: names no organization")
    return organizations


def _parse_documents(text: bytes, source: str) -> Iterator[tuple[yaml.Node, Any]]:
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            node_sizes: dict[int, int] = {}
            if _count_values(node, node_sizes) > len(node_sizes) + MAX_REPEATED:
                raise _build_marked_error(node, f"aliases repeat more than {MAX_REPEATED:,} values: write them once")
            yield node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line_number = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{source}, line {line_number}: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigurationError(f"{source}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{source}: is no YAML: {' '.join(str(error).split())}") from None


def _count_values(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values in a node, including values that aliases repeat.

    :param sizes: gets the number of values in each node, by ``id(node)``. Zero means that the node is being counted.
    :raises yaml.MarkedYAMLError: a node has a type that JSON lacks, a node contains itself, or a mapping has a key
        twice, of which PyYAML would silently use the last value.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _build_marked_error(node, "the value contains itself")
        return sizes[id(node)]
    if node.tag in _NOT_IN_JSON:
        raise _build_marked_error(node, f"{node.tag.replace(_YAML_TAG, '!!')} is not known here")
    sizes[id(node)] = 0
    child_nodes = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        key_tags_and_values: set[tuple[str, str]] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if (key_node.tag, key_node.value) in key_tags_and_values:
                    raise _build_marked_error(key_node, f"the key {key_node.value!r} is there twice")
                key_tags_and_values.add((key_node.tag, key_node.value))
        child_nodes = itertools.chain.from_iterable(node.value)
    sizes[id(node)] = 1 + sum(_count_values(child_node, sizes) for child_node in child_nodes)
    return sizes[id(node)]


def _build_marked_error(node: yaml.Node, rule: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=rule, problem_mark=node.start_mark)


def _flatten_messages(messages: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each message in the nested errors of marshmallow, together with the path to the wrong value."""
    if isinstance(messages, dict):
        for member_name, inner_messages in messages.items():
            yield from _flatten_messages(inner_messages, path if member_name == "_schema" else (*path, member_name))
    else:
        for broken_rule in dict.fromkeys(messages):
            yield path, _USER_MESSAGES.get(broken_rule, broken_rule)


_USER_MESSAGES = {
    "Unknown field.": "is not known here",
    "Missing data for required field.": "is missing",
    "Invalid input type.": "must be a mapping",
}
"""The message that a user gets for a broken rule, by the message of marshmallow."""


def _list_repetitions(organizations: list[DeclaredOrganization]) -> list[str]:
    """Return a message for each organization or object that the file describes twice."""
    problems = []
    organization_ids: set[str] = set()
    has_id_by_name: dict[str, bool] = {}
    for organization in organizations:
        organization_id, organization_name = organization.content.get("organizationId"), organization.content["name"]
        if organization_id in organization_ids:
            place = organization.describe_place("organizationId")
            problems.append(f"{place}: another organization in the file has this id")
        # Two organizations in a file may have the same name if the file has the ids of both.
        elif organization_name in has_id_by_name and not (organization_id and has_id_by_name[organization_name]):
            problems.append(f"{organization.describe_place('name')}: another organization in the file has this name")
        organization_ids |= {organization_id} if organization_id else set()
        has_id_by_name[organization_name] = bool(organization_id)
        problems += _list_repeated_objects(organization)
    return problems


def _list_repeated_objects(organization: DeclaredOrganization) -> Iterator[str]:
    for kind in KINDS:
        object_keys: set[str] = set()
        for object_index, object_members in enumerate(organization.content.get(kind.section, [])):
            if object_members[kind.key] in object_keys:
                place = organization.describe_place(kind.section, object_index, kind.key)
                yield f"{place}: another {kind.type} of the organization has this {kind.key}"
            object_keys.add(object_members[kind.key])


def _describe_place(source: str, root: yaml.Node, *path: str | int) -> str:
    """Return the place of the value at a path as text: the file, the line and the path."""
    current_node, line_number = root, root.start_mark.line
    for step in path:
        if isinstance(current_node, yaml.SequenceNode):
            if not isinstance(step, int) or step >= len(current_node.value):
                break
            current_node = current_node.value[step]
            line_number = current_node.start_mark.line
        elif isinstance(current_node, yaml.MappingNode):
            # PyYAML puts the pairs of a merged mapping (<<) before the mapping's own pairs, so the last pair applies.
            matching_pairs = [pair for pair in current_node.value if pair[0].value == str(step)]
            if not matching_pairs:
                break
            key_node, current_node = matching_pairs[-1]
            line_number = key_node.start_mark.line
        else:
            break
    path_text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return f"{source}, line {line_number + 1}" + (f": {path_text}" if path_text else "")


def write_document(organizations: list[dict[str, Any]]) -> str:
    """Return the text of a file that describes organizations, in the form that :func:`read_document` reads."""

    dump_yaml = partial(yaml.safe_dump, {"organizations": organizations}, sort_keys=False, width=120)
    yaml_text = str(dump_yaml(allow_unicode=True))
    # Names that earlier releases stored may contain characters that manipulate a terminal. YAML can escape them.
    return yaml_text if text_refusal(yaml_text, is_multiline=True) is None else str(dump_yaml())
