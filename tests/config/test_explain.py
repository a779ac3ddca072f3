"""Where values come from, and the schema that editors read."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.config import load
from penstock.config.explain import field_paths, fields, schema, values
from penstock.config.schema import SECRETS, field_doc
from penstock.config.section import Section

EXAMPLE = Path(__file__).parents[2] / "penstock.example.yaml"


def test_each_value_has_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("listen: {port: 9}\nengines: [{kind: llamacpp, extra: {n_batch: 64}}]")
    shown = {v.field: (v.value, v.origin) for v in values(load(path, {"ADMIN_PORT": "10"}, ("workers=2",)))}
    assert shown["listen.port"] == (9, str(path))
    assert shown["listen.host"] == ("127.0.0.1", "default")
    assert shown["admin.port"] == (10, "environment variable ADMIN_PORT")
    assert shown["workers"] == (2, "--set workers")
    assert shown["engines.0.kind"] == ("llamacpp", str(path))
    assert shown["engines.0.extra.n_batch"] == (64, str(path))
    assert shown["auth.keys"] == ([], "default")
    assert shown["admin.token"] == ("", "default")


def test_every_field_has_a_doc_line() -> None:
    for path, struct, name in fields():
        assert field_doc(struct, name), path


def test_secrets_are_fields() -> None:
    known = {".".join(part for part in path.split(".") if not part.isdigit()) for path in field_paths()}
    assert known >= SECRETS


def test_every_section_has_title_and_description() -> None:
    document = schema()
    json.dumps(document)
    for name, struct in document["$defs"].items():
        assert struct["title"] == name
        assert struct["description"]
        assert struct["additionalProperties"] is False
        for field, node in struct["properties"].items():
            assert field == "kind" or node["description"], f"{name}.{field}"


def conforms(node: dict[str, Any], value: Any, definitions: dict[str, Any]) -> bool:
    """The parts of JSON Schema that our schema uses."""
    if "$ref" in node:
        return conforms(definitions[node["$ref"].rsplit("/", 1)[1]], value, definitions)
    if "anyOf" in node:
        return any(conforms(option, value, definitions) for option in node["anyOf"])
    if "enum" in node:
        return value in node["enum"]
    kind = node["type"]
    if kind == "object" and "properties" in node:
        known = node["properties"]
        return (
            isinstance(value, dict)
            and set(value) <= set(known)
            and set(node["required"]) <= set(value)
            and all(conforms(known[key], inner, definitions) for key, inner in value.items())
        )
    if kind == "array":
        return isinstance(value, list) and all(conforms(node["items"], inner, definitions) for inner in value)
    types = {"string": str, "integer": int, "number": (int, float), "null": type(None), "object": dict, "boolean": bool}
    return isinstance(value, types[kind]) and node.get("minimum", value) <= value  # type: ignore[operator]


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({}, True),
        ({"listen": {"port": 1}}, True),
        ({"listen": {"port": "${P}"}}, True),
        ({"listen": {"prot": 1}}, False),
        ({"workers": 0}, False),
        ({"engines": [{"kind": "llamacpp"}]}, True),
        ({"engines": [{"name": "a"}]}, False),
        ({"engines": [{"kind": "http", "name": "a", "url": "http://h"}]}, True),
    ],
)
def test_the_schema_says_what_the_loader_says(document: dict[str, Any], valid: bool) -> None:
    root = schema()
    assert conforms(root, document, root["$defs"]) is valid


def test_the_example_is_valid_and_changes_nothing() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=./penstock.schema.json\n")
    assert load(EXAMPLE, {}).config == load(None, {}).config


def test_every_key_of_the_example_exists(tmp_path: Path) -> None:
    """With its commented keys switched on, the example still loads."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    active = [line.replace("#: ", "", 1) if line.lstrip().startswith("#: ") else line for line in lines]
    path = tmp_path / "p.yaml"
    path.write_text("\n".join(active))
    env = {"PENSTOCK_API_KEY": "k" * 24, "PENSTOCK_ADMIN_TOKEN": "t" * 24, "OPENAI_API_KEY": "o" * 24}
    loaded = load(path, env)
    named = {v.field.split(".")[0] for v in values(loaded) if v.origin != "default"}
    assert named == {field.name for field in msgspec.structs.fields(type(loaded.config))}
    assert isinstance(loaded.config, Section)
