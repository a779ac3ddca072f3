"""Whatever the bytes, a document becomes a Config or a ConfigError; secrets stay out of everything shown."""

import json
import os
import string
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from penstock.config import Config, Loaded, load
from penstock.config.explain import values
from penstock.core.errors import ConfigError

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

WORDS = st.sampled_from(
    (
        *("listen", "admin", "auth", "keys", "engines", "kind", "http", "llamacpp", "name", "url", "port", "host"),
        *("extra", "timeouts", "head", "tls", "workers", "models", "api_key", "http://h:1/v1"),
        *("${A}", "${", "$${A}", "${B b}", "!!bool x", "!!int ''", "!!set {a}", "!!binary aGk=", "&a", "*a", "<<"),
        *("off", ".inf", "0x1f", "2001-99-99"),
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SOUP = st.lists(
    WORDS
    | st.sampled_from([": ", "- ", "\n", "\n  ", "{", "}", "[", "]", ",", "'", '"', "#", "|", ">", "\t", "---\n"]),
    max_size=25,
).map("".join)


def attempt(document: Path, content: bytes, overrides: tuple[str, ...] = ()) -> Loaded | None:
    document.write_bytes(content)
    try:
        loaded = load(document, {"A": "value"}, overrides)
    except ConfigError:
        return None
    assert isinstance(loaded.config, Config)
    json.dumps([msgspec.to_builtins(value) for value in values(loaded)])
    return loaded


@FIXTURE
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    attempt(tmp_path / "c.yaml", content)


@settings(FIXTURE, max_examples=120)
@given(text=SOUP | st.text(max_size=60))
def test_any_text(tmp_path: Path, text: str) -> None:
    attempt(tmp_path / "c.yaml", text.encode("utf-8", "surrogatepass"))


@settings(FIXTURE, max_examples=120)
@given(document=st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_document(tmp_path: Path, document: dict[str, object]) -> None:
    attempt(tmp_path / "c.yaml", yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(FIXTURE, max_examples=100)
@given(
    key=st.lists(WORDS | st.sampled_from(["0", "1", "99999999999", "²", ""]), max_size=4).map(".".join),
    value=SOUP | st.text(max_size=20),
)
def test_any_override(tmp_path: Path, key: str, value: str) -> None:
    attempt(tmp_path / "c.yaml", b"auth: {keys: []}", (f"{key}={value}",))


SECRET = st.text(string.ascii_letters + string.digits + string.punctuation, min_size=16, max_size=40)


@FIXTURE
@given(secret=SECRET, plain=st.booleans())
def test_no_secret_is_ever_shown(tmp_path: Path, secret: str, plain: bool) -> None:
    text = yaml.safe_dump(
        {
            "auth": {
                "keys": [secret.replace("$", "$$") if plain and "${" in secret else secret] if plain else ["${S}"]
            },
            "admin": {"token": "${S}"},
            "log": {"access": "/var/log/${S}"},
            "engines": [
                {"kind": "http", "name": "a", "url": "http://h", "api_key": "${S}", "models": ["${S}"]},
                {"kind": "llamacpp", "extra": {"x": "${S}"}},
            ],
        }
    )
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assume("${" not in secret or not plain)
    assume(secret not in str(path))
    shown = values(load(path, {"S": secret}, (f"auth.keys.1='{'z' * 20}'",)))
    for value in shown:
        assert secret not in str(value.value)
        assert secret not in value.origin
    assert {value.field: value.value for value in shown}["auth.keys.1"] == "***"


@FIXTURE
@given(secret=SECRET, where=st.sampled_from(["auth", "auth.keys", "admin.token", "engines.0.api_key", "admin"]))
def test_no_refusal_quotes_a_secret(tmp_path: Path, secret: str, where: str) -> None:
    documents = {
        "auth": {"auth": "${S}"},
        "auth.keys": {"auth": {"keys": "${S}"}},
        "admin.token": {"admin": {"token": "${S}", "port": -1}},
        "engines.0.api_key": {"engines": [{"kind": "http", "name": "a", "url": "http://h:x", "api_key": "${S}"}]},
        "admin": {"admin": ["${S}"]},
    }
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(documents[where]))
    with pytest.raises(ConfigError) as caught:
        load(path, {"S": secret})
    assert secret not in str(caught.value)


@FIXTURE
@given(good=st.integers(1, 256), bad=st.binary(max_size=60))
def test_a_failing_load_changes_nothing(tmp_path: Path, good: int, bad: bytes) -> None:
    """Law 10, the config's part: what runs and the environment stay as they were."""
    path = tmp_path / "c.yaml"
    before = attempt(path, f"workers: {good}".encode())
    assert before is not None
    kept, origins, environment = msgspec.json.encode(before.config), dict(before.origins), dict(os.environ)
    attempt(path, bad)
    assert msgspec.json.encode(before.config) == kept
    assert before.origins == origins
    assert dict(os.environ) == environment
