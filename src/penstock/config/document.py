"""YAML text -> a mapping of plain values, or a ConfigError that says where.

The dialect is YAML 1.2's core schema: `on`, `off`, `yes`, `no`, dates and `010` are text, `1e3` is a number.
A key written twice is refused, since the first would be dropped in silence; so are aliases and merge keys,
which let a few bytes unfold into gigabytes. No error quotes a line of the document: it may hold a secret.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from penstock.core.errors import ConfigError

CONSTRUCTION_ERRORS = (
    ValueError, KeyError, AttributeError, IndexError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
"""What PyYAML lets through for tags such as `!!bool x` and `!!int ""`, or for a thousand open brackets."""

BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
INT = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$")
FLOAT = re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$")


class Loader(yaml.SafeLoader):
    """SafeLoader with the dialect above."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to start from no resolver

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases (`*name`) are not supported; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = key_node.value
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice; remove one", key_node.start_mark
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep=deep))


for _tag, _pattern, _first in (
    ("bool", BOOL, "tTfF"),
    ("int", INT, "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("null", NULL, ["~", "n", "N", ""]),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


def read(path: Path) -> dict[str, Any]:
    """The document at `path`. Raises ConfigError; nothing else, whatever the bytes."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"cannot read config {path}: not UTF-8 text ({getattr(error, 'reason', error)})") from None
    try:
        document = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{path} is not valid YAML: {error.problem or error.context}{place}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{path} is not valid YAML: character {error.position + 1} is not allowed") from None
    except (yaml.YAMLError, *CONSTRUCTION_ERRORS) as error:
        raise ConfigError(f"{path} is not valid YAML: a value does not fit its tag ({type(error).__name__})") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: the document must be keys such as `listen:`, found a {type(document).__name__}")
    return document


def scalar(text: str) -> Any:
    """The value of one override, as YAML when it is YAML, else as the text it is."""
    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, *CONSTRUCTION_ERRORS):
        return text
