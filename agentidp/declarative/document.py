"""The file that describes a fleet: reads it, checks it, says where a mistake is, and writes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from agentidp.config import ConfigurationError
from agentidp.declarative.schemas import KINDS, DocumentSchema, with_instants
from agentidp.http.text import text_refusal

MAX_PROBLEMS = 20
"""More mistakes than these are only counted."""

MAX_REPEATED = 50_000
"""Values that aliases may repeat in a document. A few bytes of nested aliases stand for more than memory can hold."""

_YAML_TAG = "tag:yaml.org,2002:"
_NOT_IN_JSON = {f"{_YAML_TAG}{name}" for name in ("binary", "omap", "pairs", "set")}

Path = tuple[str | int, ...]
"""The way to a value: names of members, and indexes in lists."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads an instant as text, as JSON has it."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_YAML_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True)
class Declared:
    """An organization as a file describes it.

    :param content: as the JSON of our API.
    :param place: where the value at a path below it is, for errors.
    """

    content: dict[str, Any]
    place: Callable[..., str]


def read_document(text: bytes, source: str) -> list[Declared]:
    """The organizations in a file of one or several YAML documents.

    :param source: the file's name, for errors.
    :raises ConfigurationError: a line for each mistake: file, line, path and rule.
    """
    found: list[Declared] = []
    problems: list[str] = []
    for root, document in _documents(text, source):
        if document is None:
            continue
        place = _Place(source, root)
        mistakes: Any = DocumentSchema().validate(document) if isinstance(document, dict) else ["must be a mapping"]
        problems += [f"{place.of(path)}: {rule}" for path, rule in _mistakes(mistakes, ())]
        if not mistakes:
            for index, content in enumerate(with_instants(DocumentSchema().fields, document)["organizations"]):
                found.append(Declared(content, place.below("organizations", index)))
    problems = problems or _repetitions(found)
    if problems:
        more = len(problems) - MAX_PROBLEMS
        raise ConfigurationError("\n".join([*problems[:MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]))
    if not found:
        raise ConfigurationError(f"{source}: names no organization")
    return found


def _documents(text: bytes, source: str) -> Iterator[tuple[yaml.Node, Any]]:
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            sizes: dict[int, int] = {}
            mistake = _mistaken_node(node, set()) or _contained(node, sizes)
            if mistake is None and sizes[id(node)] > len(sizes) + MAX_REPEATED:
                mistake = node, f"aliases repeat more than {MAX_REPEATED:,} values: write them once"
            if mistake:
                wrong, rule = mistake
                raise ConfigurationError(f"{source}, line {wrong.start_mark.line + 1}: {rule}")
            yield node, loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{source}, line {line}: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigurationError(f"{source}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{source}: is no YAML: {' '.join(str(error).split())}") from None


def _mistaken_node(node: yaml.Node, seen: set[int]) -> tuple[yaml.Node, str] | None:
    """The first node that JSON has not, or whose key is the second of two equal ones, of which YAML's readers would
    silently take the last; and the rule that it breaks.
    """
    if node.tag in _NOT_IN_JSON:
        return node, f"{node.tag.replace(_YAML_TAG, '!!')} is not known here"
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return None
    seen.add(id(node))
    keys: set[tuple[str, str]] = set()
    below: list[yaml.Node] = []
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                return key, f"the key {key.value!r} is there twice"
            keys.add((key.tag, key.value))
        below.append(value)
    return next((found for value in below if (found := _mistaken_node(value, seen))), None)


def _contained(node: yaml.Node, sizes: dict[int, int]) -> tuple[yaml.Node, str] | None:
    """Count the values that a node contains, with what aliases repeat; or say which node contains itself.

    :param sizes: gets the number of each node, by its identity.
    """
    # No node has this size: it is not complete yet.
    sizes[id(node)] = 0
    size = 1
    inner = [] if isinstance(node, yaml.ScalarNode) else node.value
    for child in itertools.chain.from_iterable(inner) if isinstance(node, yaml.MappingNode) else inner:
        if id(child) not in sizes and (mistake := _contained(child, sizes)):
            return mistake
        if not sizes[id(child)]:
            return child, "the value contains itself"
        size += sizes[id(child)]
    sizes[id(node)] = size
    return None


def _mistakes(found: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The messages of marshmallow with the path of each."""
    if isinstance(found, dict):
        for name, inner in found.items():
            yield from _mistakes(inner, path if name == "_schema" else (*path, name))
    else:
        for rule in dict.fromkeys(found):
            yield path, _PLAIN.get(rule, rule)


_PLAIN = {
    "Unknown field.": "is not known here",
    "Missing data for required field.": "is missing",
    "Invalid input type.": "must be a mapping",
}
"""Messages that marshmallow has for programmers."""


def _repetitions(found: list[Declared]) -> list[str]:
    """Objects that are named twice."""
    problems = []
    ids: set[str] = set()
    names: dict[str, bool] = {}
    for one in found:
        organization_id, name = one.content.get("organizationId"), one.content["name"]
        if organization_id in ids:
            problems.append(f"{one.place('organizationId')}: another organization in the file has this id")
        # Two organizations may have the same name if both are named by their ids.
        elif name in names and not (organization_id and names[name]):
            problems.append(f"{one.place('name')}: another organization in the file has this name")
        ids |= {organization_id} if organization_id else set()
        names[name] = bool(organization_id)
        for kind in KINDS:
            keys: set[str] = set()
            for index, inner in enumerate(one.content.get(kind.section, [])):
                if (key := inner[kind.key]) in keys:
                    place = one.place(kind.section, index, kind.key)
                    problems.append(f"{place}: another {kind.type} of the organization has this {kind.key}")
                keys.add(key)
    return problems


class _Place:
    """Where something is in a document."""

    def __init__(self, source: str, root: yaml.Node) -> None:
        self._source, self._root = source, root

    def below(self, *prefix: str | int) -> Callable[..., str]:
        """Where the value at a path below another is."""
        return lambda *path: self.of((*prefix, *path))

    def of(self, path: Path) -> str:
        """The file, the line, and the path as text."""
        node, line = self._root, self._root.start_mark.line
        for step in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            elif isinstance(node, yaml.MappingNode):
                # What was merged stands first, and what overrides it last.
                pairs = [(key, value) for key, value in node.value if key.value == str(step)]
                if not pairs:
                    break
                key, node = pairs[-1]
                line = key.start_mark.line
            else:
                break
        text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
        return f"{self._source}, line {line + 1}" + (f": {text}" if text else "")


def write_document(organizations: list[dict[str, Any]]) -> str:
    """Return the file that describes organizations.

    :param organizations: the content of each organization, as :func:`read_document` returns it.
    """

    def dumped(*, is_unicode: bool) -> str:
        document = {"organizations": organizations}
        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=is_unicode, width=120))

    text = dumped(is_unicode=True)
    # A name that is older than the rules for text can forge what a terminal shows, unless YAML escapes it.
    return text if text_refusal(text, is_multiline=True) is None else dumped(is_unicode=False)
