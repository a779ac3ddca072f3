"""The fields of a contract, for the documents."""

from typing import Any

import msgspec

from penstock.bench.contract.contract import Contract


def fields() -> str:
    """A table in Markdown: every field of every part, with its default and meaning."""
    definitions: dict[str, Any] = msgspec.json.schema(Contract)["$defs"]
    rows = ["| Part | Field | Default | Meaning |", "|---|---|---|---|"]
    for name in sorted(definitions, key=lambda name: (name != "Contract", name)):
        node = definitions[name]
        required = node.get("required", ())
        for field, about in node["properties"].items():
            if "enum" in about and len(about["enum"]) == 1 and field in ("law", "loop", "shape"):
                rows.append(f"| {name} | `{field}` | `{about['enum'][0]}` | which it is |")
                continue
            default = "required" if field in required else _default(about)
            rows.append(f"| {name} | `{field}` | {default} | {_meaning(about)} |")
    return "\n".join(rows)


def _default(node: dict[str, Any]) -> str:
    if "default" not in node or "$ref" in str(node.get("default")):
        return "see its part"
    value = node["default"]
    return "see its part" if isinstance(value, dict) and value else f"`{msgspec.json.encode(value).decode()}`"


def _meaning(node: dict[str, Any]) -> str:
    said = str(node.get("description", ""))
    if not said and "items" in node:
        said = str(node["items"].get("description", ""))
    return said.replace("|", "\\|") or "see its part"
