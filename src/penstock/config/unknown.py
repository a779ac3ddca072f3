"""Unknown keys, with a suggestion; msgspec would name the key alone."""

import difflib
from typing import Any, get_args

import msgspec

from penstock.config.engines import KINDS
from penstock.config.routing import Model
from penstock.config.schema import Config
from penstock.config.section import Section
from penstock.core.errors import ConfigError


def check_keys(document: dict[str, Any]) -> None:
    """Raises ConfigError for a key no section knows and for an engine without a known kind."""
    _section(Config, document, "")


def _section(struct: type[Section], document: Any, path: str) -> None:
    if not isinstance(document, dict):
        return
    fields = {f.encode_name: f.type for f in msgspec.structs.fields(struct)}
    tag = struct.__struct_config__.tag_field
    known = [*fields, *([tag] if tag else [])]
    for key, value in document.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown field; {hint}")
        if key == "engines" and isinstance(value, list):
            for index, engine in enumerate(value):
                _engine(engine, f"{where}.{index}")
        elif key == "models" and isinstance(value, dict) and struct is Config:
            for name, model in value.items():
                _section(Model, model, f"{where}.{name}")
        elif key in fields:
            for inner in _sections(fields[key]):
                _section(inner, value, where)


def _engine(engine: Any, path: str) -> None:
    if not isinstance(engine, dict):
        raise ConfigError(f"{path}: an engine is a section with `kind:`, found {type(engine).__name__}")
    kind = engine.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        found = "is missing" if kind is None else f"{str(kind)[:40]!r} is unknown"
        raise ConfigError(f"{path}.kind: {found}; known: {', '.join(KINDS)}")
    _section(KINDS[kind], engine, path)


def _sections(hint: Any) -> list[type[Section]]:
    if isinstance(hint, type) and issubclass(hint, Section):
        return [hint]
    return [inner for argument in get_args(hint) for inner in _sections(argument)]
