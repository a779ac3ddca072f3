"""What the config is and where each value came from, and the schema that editors read."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from penstock.config.engines import KINDS, Remote
from penstock.config.load import Loaded, without_indexes
from penstock.config.schema import SECRETS, Config, field_doc
from penstock.config.section import Section

MASK = "***"
REMOTE = tuple(kind.__name__ for kind in KINDS.values() if issubclass(kind, Remote))
REFERENCE_PATTERN = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"


class Value(msgspec.Struct, frozen=True):
    """One effective value."""

    field: str
    """Dotted path, lists counted from 0."""
    value: Any
    """A plain value; secrets and what the environment filled in are `***`."""
    origin: str
    """`default`, a file, an environment variable or an option."""
    doc: str


def values(loaded: Loaded) -> list[Value]:
    """Every effective value in schema order. Holds no secret."""
    return list(_section(loaded, loaded.config, ""))


def _section(loaded: Loaded, section: Section, path: str) -> Iterator[Value]:
    tag = section.__struct_config__.tag_field
    if tag:
        where = f"{path}.{tag}"
        yield _value(loaded, where, section.__struct_config__.tag, "Kind of engine")
    for field in msgspec.structs.fields(section):
        where = f"{path}.{field.name}" if path else field.name
        yield from _walk(loaded, getattr(section, field.name), where, field_doc(type(section), field.name))


def _walk(loaded: Loaded, value: Any, path: str, doc: str) -> Iterator[Value]:
    if isinstance(value, Section):
        yield from _section(loaded, value, path)
    elif isinstance(value, tuple) and value:
        for index, item in enumerate(value):
            yield from _walk(loaded, item, f"{path}.{index}", doc)
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _walk(loaded, item, f"{path}.{name}", doc)
    else:
        yield _value(loaded, path, value, doc)


def _value(loaded: Loaded, path: str, value: Any, doc: str) -> Value:
    shown = list(value) if isinstance(value, tuple) else value
    if value and (is_secret(path) or (isinstance(value, str) and path in loaded.referenced)):
        shown = MASK
    return Value(path, shown, loaded.origins.get(path, "default"), doc)


PLACE = {"engines": ".0", "models": ".NAME"}
"""How an entry of a list or map is written where any of them is meant."""


def fields(struct: type[Section] = Config, path: str = "") -> Iterator[tuple[str, type[Section], str]]:
    """(dotted path, section it belongs to, field) of every field. Engines are `engines.0`, models `models.NAME`."""
    for field in msgspec.structs.fields(struct):
        where = f"{path}.{field.name}" if path else field.name
        inner = _sections(field.type)
        if not inner:
            yield where, struct, field.name
        for section in inner:
            yield from fields(section, where + PLACE.get(field.name, ""))


def field_paths() -> list[str]:
    """Dotted paths of all fields, each once."""
    return list(dict.fromkeys(path for path, _, _ in fields()))


def _sections(hint: Any) -> list[type[Section]]:
    if isinstance(hint, type) and issubclass(hint, Section):
        return [hint]
    return [inner for argument in get_args(hint) for inner in _sections(argument)]


def schema() -> dict[str, Any]:
    """JSON schema of the document, for editors.

    Numbers and patterned strings also accept a `${NAME}` reference, as the loader does.
    """
    document: dict[str, Any] = msgspec.json.schema(Config)
    for struct in document["$defs"].values():
        for name, node in struct["properties"].items():
            struct["properties"][name] = _editable(node)
    for struct_type in KINDS.values():
        kind = document["$defs"][struct_type.__name__]
        kind["required"] = ["kind", *(name for name in kind.get("required", []) if name != "kind")]
    for secret in SECRETS:
        section, _, name = secret.partition(".")
        owners = REMOTE if section == "engines" else (section.title().replace("_", ""),)
        for owner in owners:
            document["$defs"][owner]["properties"][name]["writeOnly"] = True
    document.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "penstock.yaml"})
    return document


def _editable(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("type") in ("integer", "number") or "pattern" in node:
        outer: dict[str, Any] = {key: node[key] for key in ("description", "default") if key in node}
        inner = {key: value for key, value in node.items() if key not in outer}
        return {**outer, "anyOf": [inner, {"type": "string", "pattern": REFERENCE_PATTERN}]}
    return node


def is_secret(path: str) -> bool:
    """Whether a dotted path names a secret."""
    return without_indexes(path) in SECRETS
