"""YAML text, environment and overrides -> Config, with the origin of every value.

Errors name the field, the value and the fix. `${NAME}` inside a string is replaced from the environment;
`$${` stands for a literal `${`. Origins are kept by dotted path (`engines.0.url`) for `penstock explain`.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from penstock.config.check import check
from penstock.config.schema import Config, Http, LlamaCpp, Section
from penstock.core.errors import ConfigError

REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLES = {"HOST": "listen.host", "PORT": "listen.port", "ADMIN_PORT": "admin.port"}
"""Environment variables that override a field, the way `make run PORT=9000` does."""


class Loaded(msgspec.Struct, frozen=True):
    """A Config and where its values came from."""

    config: Config
    origins: dict[str, str]
    """Dotted path -> origin, for every value that is not a default."""
    path: Path | None


def load(path: Path | None, env: Mapping[str, str], overrides: tuple[str, ...] = ()) -> Loaded:
    """Reads `path` (None: no document), then the environment's variables, then `key.path=value` overrides.

    Raises ConfigError; nothing else, whatever the bytes.
    """
    document: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        document = _read(path)
        document = _resolve(document, "", env, origins, str(path))
    for variable, field in VARIABLES.items():
        if env.get(variable):
            _assign(document, field, _scalar(env[variable]), f"environment variable {variable}", origins)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set {override!r}: write it as key.path=value, e.g. --set listen.port=9000")
        _assign(document, key, _scalar(text), f"--set {key}", origins)
    config = _convert(document)
    check(config)
    return Loaded(config, origins, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read config {path}: {error}") from None
    try:
        document = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: the document must be a mapping of keys such as `listen:`, found {document!r:.60}")
    return document


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice: the first would be dropped in silence."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
        seen.add(key)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _resolve(value: Any, path: str, env: Mapping[str, str], origins: dict[str, str], source: str) -> Any:
    """A copy of `value` with environment references replaced; fills `origins` for every leaf."""
    if isinstance(value, dict):
        return {k: _resolve(v, f"{path}.{k}" if path else k, env, origins, source) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, f"{path}.{i}", env, origins, source) for i, v in enumerate(value)]
    names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not NAME.fullmatch(name):
            raise ConfigError(f"{path}: `${{{name}}}` is not a variable name; write ${{NAME}}, or $${{ for a literal")
        if name not in env:
            raise ConfigError(f"{path}: environment variable {name} is not set; export it or remove the reference")
        names.append(name)
        return env[name]

    if isinstance(value, str):
        value = REFERENCE.sub(replace, value)
    origins[path] = f"{source} (${{{'}, ${'.join(names)}}})" if names else source
    return value


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assign(document: dict[str, Any], key: str, value: Any, origin: str, origins: dict[str, str]) -> None:
    parts = key.split(".")
    node: Any = document
    for depth, part in enumerate(parts):
        here = ".".join(parts[: depth + 1])
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f"{origin}: {here} does not exist; the list has {len(node)} entries")
            if last:
                node[int(part)] = value
            else:
                node = node[int(part)]
        elif isinstance(node, dict):
            if last:
                node[part] = value
            else:
                node = node.setdefault(part, {})
        else:
            raise ConfigError(f"{origin}: {here} is inside a plain value, not a section")
    for known in [k for k in origins if k == key or k.startswith(key + ".")]:
        del origins[known]
    origins[key] = origin


def _convert(document: dict[str, Any]) -> Config:
    _check_keys(Config, document, "")
    try:
        return msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").replace("[", ".").replace("]", "").lstrip(".") or "document"
        found = _lookup(document, field)
        raise ConfigError(f"{field}: {message}{found}") from None


def _lookup(document: Any, path: str) -> str:
    node = document
    for part in path.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return ""
    if any(secret in path for secret in ("key", "token")) or isinstance(node, dict | list):
        return ""
    return f"; found {node!r}"


def _check_keys(struct: type[Section], document: Any, path: str) -> None:
    """Unknown keys, with a suggestion; msgspec would name the key alone."""
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
                _check_engine(engine, f"{where}.{index}")
        elif key in fields:
            for inner in _sections(fields[key]):
                _check_keys(inner, value, where)


def _check_engine(engine: Any, path: str) -> None:
    kinds: dict[str, type[Section]] = {"llamacpp": LlamaCpp, "http": Http}
    if not isinstance(engine, dict):
        raise ConfigError(f"{path}: an engine is a mapping with `kind:`, found {engine!r:.60}")
    kind = engine.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        found = "is missing" if kind is None else f"{kind!r} is unknown"
        raise ConfigError(f"{path}.kind {found}; known: {', '.join(kinds)}")
    _check_keys(kinds[kind], engine, path)


def _sections(hint: Any) -> list[type[Section]]:
    if isinstance(hint, type) and issubclass(hint, Section):
        return [hint]
    return [inner for argument in get_args(hint) for inner in _sections(argument)]
