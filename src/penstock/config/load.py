"""File, environment and overrides -> Config, with the origin of every value.

Later wins: default, file, environment variable, `--set`, an option of its own. Errors name field, value and
fix. `${NAME}` inside a string is replaced from the environment; `$${` stands for a literal `${`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.config.check import check
from penstock.config.document import read, scalar
from penstock.config.override import Flag, assign
from penstock.config.schema import SECRETS, Config
from penstock.config.unknown import check_keys
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
    referenced: frozenset[str] = frozenset()
    """Paths of the strings that hold a value of the environment; never printed."""


def without_indexes(path: str) -> str:
    """`engines.0.api_key` -> `engines.api_key`."""
    return ".".join(part for part in path.split(".") if not part.isdigit())


def load(
    path: Path | None, env: Mapping[str, str], overrides: tuple[str, ...] = (), flags: tuple[Flag, ...] = ()
) -> Loaded:
    """Reads `path` (None: no document), then the environment's variables, `key.path=value` overrides, flags.

    Raises ConfigError; nothing else, whatever the bytes. Changes nothing outside the Loaded it returns.
    """
    document: dict[str, Any] = {}
    origins: dict[str, str] = {}
    referenced: set[str] = set()
    if path is not None:
        document = _Resolver(env, str(path), origins, referenced).value(read(path), "")
    for variable, field in VARIABLES.items():
        if env.get(variable):
            value = env[variable] if variable == "HOST" else scalar(env[variable])
            assign(document, field, value, f"environment variable {variable}", origins)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"--set {key!r}: write it as key.path=value, e.g. --set listen.port=9000")
        assign(document, key, scalar(text), f"--set {key}", origins)
    for flag in flags:
        assign(document, flag.field, flag.value, flag.option, origins)
    referenced &= origins.keys()
    referenced -= {path for path in referenced if "${" not in origins[path]}
    config = _convert(document, origins, referenced)
    try:
        check(config)
    except ConfigError as error:
        field = str(error).partition(":")[0]
        raise ConfigError(f"{error}{_source(field, origins)}") from None
    return Loaded(config, origins, path, frozenset(referenced))


class _Resolver:
    """Copies a document with its environment references replaced, and records the origin of every leaf."""

    def __init__(self, env: Mapping[str, str], source: str, origins: dict[str, str], referenced: set[str]) -> None:
        self._env = env
        self._source = source
        self._origins = origins
        self._referenced = referenced

    def value(self, value: Any, path: str) -> Any:
        if isinstance(value, dict) and (value or not path):
            inner = {k: self.value(v, f"{path}.{k}" if path else k) for k, v in value.items() if v is not None}
            return inner  # a key with nothing behind it keeps its default
        if isinstance(value, list) and value:
            return [self.value(v, f"{path}.{i}") for i, v in enumerate(value)]
        names: list[str] = []
        if isinstance(value, str):
            value = REFERENCE.sub(lambda match: self._replace(match, path, names), value)
        elif not isinstance(value, int | float | dict | list):
            raise ConfigError(f"{path}: expected text, a number, a list or a section; found {type(value).__name__}")
        if names:
            self._referenced.add(path)
        self._origins[path] = f"{self._source} ({', '.join(f'${{{n}}}' for n in names)})" if names else self._source
        return value

    def _replace(self, match: re.Match[str], path: str, names: list[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not NAME.fullmatch(name):
            raise ConfigError(f"{path}: `${{{name}}}` is not a variable name; write ${{NAME}}, or $${{ for a literal")
        if name not in self._env:
            raise ConfigError(f"{path}: environment variable {name} is not set; export it or remove the reference")
        names.append(name)
        return self._env[name]


def _convert(document: dict[str, Any], origins: dict[str, str], referenced: set[str]) -> Config:
    check_keys(document)
    try:
        # Not strict: a reference such as `port: ${API_PORT}` arrives as text.
        return msgspec.convert(document, Config, strict=False)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").replace("[", ".").replace("]", "").lstrip(".") or "document"
        message = message.replace("`", "").replace("Expected", "expected", 1).replace("Object missing", "missing", 1)
        plain = without_indexes(field)
        quiet = field in referenced or any(secret == plain or secret.startswith(f"{plain}.") for secret in SECRETS)
        found = "" if quiet else _found(document, field)
        raise ConfigError(f"{field}: {message}{found}{_source(field, origins)}") from None


def _source(field: str, origins: Mapping[str, str]) -> str:
    """Names a source that is not the file, where nobody would look for it otherwise."""
    origin = origins.get(field, "")
    return f" (from {origin})" if origin.startswith(("environment", "--")) else ""


def _found(document: Any, path: str) -> str:
    node = document
    for part in path.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return ""
    if node is None or isinstance(node, dict | list):
        return ""
    shown = hex(node) if isinstance(node, int) and abs(node) > 1 << 64 else repr(node)
    return f"; found {shown if len(shown) <= 60 else shown[:57] + '...'}"
