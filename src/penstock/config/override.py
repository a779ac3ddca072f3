"""Puts one value at a dotted path of a document, creating what is missing on the way."""

from typing import Any

import msgspec

from penstock.core.errors import ConfigError


class Flag(msgspec.Struct, frozen=True):
    """A field set by an option of its own, e.g. `--port`."""

    option: str
    field: str
    value: Any


def assign(document: dict[str, Any], key: str, value: Any, origin: str, origins: dict[str, str]) -> None:
    """Sets `key` in place and records `origin` for every value below it. Raises ConfigError."""
    parts = key.split(".")
    if not all(parts):
        raise ConfigError(f"{origin}: {key!r} has an empty part; write it like listen.port")
    if parts[0] == "engines" and len(parts) > 1 and "engines" not in document:
        document["engines"] = [{"kind": "llamacpp"}]
    node: Any = document
    for depth, part in enumerate(parts[:-1]):
        place = _place(node, part, ".".join(parts[: depth + 1]), origin)
        if node[place] is None:
            node[place] = [] if parts[depth + 1] == "0" else {}
        node = node[place]
    node[_place(node, parts[-1], key, origin)] = value
    for known in [k for k in origins if k == key or k.startswith(key + ".")]:
        del origins[known]
    _record(value, key, origin, origins)


def _place(node: Any, part: str, here: str, origin: str) -> Any:
    """The key or index that `part` means in `node`; afterwards it exists, empty when it is new."""
    if isinstance(node, dict):
        node.setdefault(part, None)
        return part
    if not isinstance(node, list):
        raise ConfigError(f"{origin}: {here} is inside a plain value, not a section")
    if not (part.isascii() and part.isdigit() and len(part) < 6 and int(part) <= len(node)):
        raise ConfigError(f"{origin}: {here} does not exist; the list has {len(node)} entries, counted from 0")
    if int(part) == len(node):
        node.append(None)
    return int(part)


def _record(value: Any, path: str, origin: str, origins: dict[str, str]) -> None:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        _record(child, f"{path}.{name}", origin, origins)
    if not children:
        origins[path] = origin
