"""docs/configuration.md, rendered from the schema."""

import json
from typing import Any

import msgspec

from penstock.config.engines import KINDS
from penstock.config.load import VARIABLES
from penstock.config.routing import Model
from penstock.config.schema import SECRETS, Config, field_doc
from penstock.config.section import YEAR, Section

INTRODUCTION = f"""# Configuration

Generated from the schema by `python -m penstock.cli.reference`.

`penstock.yaml` in the current folder is read when it exists; `-c FILE` names another. Every key is optional: no file
means the embedded model on loopback. `penstock.example.yaml` is a commented start.

- **Order.** A later source wins: default, file, environment variable
  ({", ".join(f"`{variable}` sets `{field}`" for variable, field in VARIABLES.items())}), `--set key.path=value`,
  an option of its own such as `--port`. `penstock explain` shows every value and where it came from.
- **References.** `${{NAME}}` inside a value is replaced from the environment; `$${{` is a literal `${{`. Text that
  holds a reference is shown as `***`, and so are {", ".join(f"`{secret}`" for secret in sorted(SECRETS))}.
- **Dialect.** YAML 1.2: `on`, `off`, `yes`, `no` and dates are text. A key written twice is refused, and so are aliases
  and merge keys. A key with nothing behind it keeps its default. An unknown key is an error with a suggestion.
- **Reload.** SIGHUP reads everything again; an invalid config changes nothing. `admin` changes only with a restart.
- **Editors.** `penstock explain --schema > penstock.schema.json`, and as first line of the file
  `# yaml-language-server: $schema=./penstock.schema.json`.
- **Errors** name the field, the value and the fix in one line, and exit with code 2.
"""


def configuration() -> str:
    """The whole document."""
    definitions = msgspec.json.schema(Config)["$defs"]
    parts = [INTRODUCTION, _part("Top level", Config, "", definitions)]
    for field in msgspec.structs.fields(Config):
        if field.name == "engines":
            parts += [_part(f"engines, kind {k}", struct, "engines.N", definitions) for k, struct in KINDS.items()]
        elif field.name == "models":
            parts.append(_part("models", Model, "models.NAME", definitions))
        elif "$ref" in definitions["Config"]["properties"][field.name]:
            section = type(field.default)
            parts.append(_part(field.name, section, field.name, definitions))
            for inner in definitions[section.__name__]["properties"].values():
                for option in inner.get("anyOf", ()):
                    if "$ref" in option:
                        parts.append(_nested(field.name, option["$ref"], definitions))
    return "\n".join(parts)


def _part(title: str, section: type[Section], path: str, definitions: dict[str, Any]) -> str:
    about = (section.__doc__ or "").strip()
    rows = []
    for name, node in definitions[section.__name__]["properties"].items():
        if name == section.__struct_config__.tag_field:
            rows.append(_row(f"{path}.{name}", f"`{section.__struct_config__.tag}`", "required", "Kind of engine"))
            continue
        required = name in definitions[section.__name__]["required"]
        default = "required" if required else _default(node)
        rows.append(_row(f"{path}.{name}" if path else name, _type(node), default, field_doc(section, name)))
    head = "| Key | Type | Default | Meaning |\n|---|---|---|---|"
    return "\n".join([f"## {title}\n", f"{about}\n", head, *rows, ""])


def _nested(section: str, reference: str, definitions: dict[str, Any]) -> str:
    """A section that may be left out whole."""
    node = definitions[reference.rsplit("/", 1)[1]]
    path = f"{section}.{node['title'].lower()}"
    required = node.get("required", ())
    rows = [
        _row(f"{path}.{name}", _type(inner), "required" if name in required else _default(inner), _about(inner))
        for name, inner in node["properties"].items()
    ]
    head = "| Key | Type | Default | Meaning |\n|---|---|---|---|"
    return "\n".join([f"### {path}\n", f"{node['description']}\n", head, *rows, ""])


def _about(node: dict[str, Any]) -> str:
    return str(node.get("description", ""))


def _row(key: str, kind: str, default: str, about: str) -> str:
    return f"| `{key}` | {kind} | {default} | {about.replace('|', chr(92) + '|')} |"


def _default(node: dict[str, Any]) -> str:
    value = node.get("default")
    if "$ref" in node or (isinstance(value, list) and value and isinstance(value[0], dict)):
        return "see below" if "$ref" in node else "the embedded model"
    return f"`{json.dumps(value)}`"


def _type(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return "section"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(option) for option in node["anyOf"]))
    if "enum" in node:
        return "one of " + ", ".join(f"`{value}`" for value in node["enum"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}".replace("list of section", "list of engines")
    if "$ref" in node.get("additionalProperties", {}):
        return "map of sections"
    names = {"string": "text", "integer": "integer", "number": "number", "object": "map", "null": "null"}
    name = names.get(node["type"], node["type"])
    if "minimum" in node and node.get("maximum", YEAR) != YEAR:
        return f"{name} {node['minimum']:g} to {node['maximum']:.10g}"
    if "minimum" in node:
        return f"{name} >= {node['minimum']:g}"
    return f"{name} > {node['exclusiveMinimum']:g}" if "exclusiveMinimum" in node else name
