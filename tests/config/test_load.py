"""A document becomes a frozen Config or one ConfigError that names field, value and fix."""

from pathlib import Path

import msgspec
import pytest

from penstock.config import Config, Loaded, load
from penstock.config.engines import Http, LlamaCpp
from penstock.config.override import Flag
from penstock.config.section import Section
from penstock.core.errors import ConfigError

KEY = "k" * 24
FAR = "engines: [{kind: http, name: a, url: 'http://h', %s}]"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return tmp_path / "penstock.yaml"


def read(document: Path, text: str, env: dict[str, str] | None = None, *overrides: str) -> Loaded:
    document.write_text(text, encoding="utf-8")
    return load(document, env or {}, overrides)


def refusal(document: Path, text: str, env: dict[str, str] | None = None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(document, text, env, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_document_is_the_embedded_default() -> None:
    loaded = load(None, {})
    assert loaded.config == Config()
    assert loaded.origins == {}
    assert loaded.config.engines == (LlamaCpp(),)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "listen:\n", "listen: {}\ntimeouts:\n  head:\n"])
def test_empty_keys_keep_their_defaults(document: Path, text: str) -> None:
    assert read(document, text).config == Config()


def test_every_section_is_frozen() -> None:
    def visit(section: Section) -> None:
        for field in msgspec.structs.fields(section):
            value = getattr(section, field.name)
            with pytest.raises(AttributeError):
                setattr(section, field.name, value)
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, Section):
                    visit(inner)

    visit(load(None, {}).config)


def test_on_off_and_dates_are_text(document: Path) -> None:
    assert read(document, "log: {access: off}").config.log.access == "off"
    assert read(document, "log: {access: 2026-01-02}").config.log.access == "2026-01-02"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("listen: {prot: 1}", ["listen.prot: unknown field", "did you mean 'port'?"]),
        ("zzz: 1", ["zzz: unknown field", "known: listen, admin"]),
        ("engines: [{kind: http, name: a, url: 'http://h', modles: []}]", ["engines.0.modles", "'models'"]),
        ("engines: [{kind: vlm}]", ["engines.0.kind: 'vlm' is unknown", "known: llamacpp, vllm, http"]),
        ("engines: [{name: a}]", ["engines.0.kind: is missing", "known: llamacpp, vllm, http"]),
        ("engines: [7]", ["engines.0: an engine is a section"]),
        ("engines: []", ["engines: the list is empty"]),
        ("engines: [{kind: http, name: a}]", ["engines.0: missing required field url"]),
        ("engines: [{kind: http, name: a, url: ftp://h}]", ["engines.0.url", "found 'ftp://h'"]),
        ("engines: [{kind: http, name: a, url: 'http://u:p@h'}]", ["engines.0.url", "api_key"]),
        (
            "engines: [{kind: llamacpp}, {kind: http, name: p, url: 'http://h', pool: big, role: prefill}]",
            ["engines.1.role: 'prefill'", "pool 'big'", "role `decode` or `both`"],
        ),
        ("models: {m: {pools: [spare]}}", ["models.m.pools: no engine is in pool 'spare'", "there are: default"]),
        ("models: {m: {pools: [default, default]}}", ["models.m.pools: a pool is named twice"]),
        ("routing: {split_tokens: 0}", ["routing.split_tokens"]),
        ("engines: [{kind: llamacpp}, {kind: llamacpp}]", ["engines.1.name: 'local' is used twice"]),
        ("listen: {port: 70000}", ["listen.port", "<= 65535", "found 70000"]),
        ("listen: {port: x}", ["listen.port", "found 'x'"]),
        ("admin: {port: 8080}", ["admin.port: 8080 is listen.port too"]),
        ("timeouts: {head: .inf}", ["timeouts.head"]),
        ("timeouts: {head: .nan}", ["timeouts.head"]),
        ("timeouts: {head: 0}", ["timeouts.head", "found 0"]),
        ("workers: 0x" + "f" * 6000, ["workers", "0xfff"]),
        ("listen: {host: 0.0.0.0}", ["listen.host: '0.0.0.0' is not loopback", "auth.keys"]),
        ("listen: {host: example.org}", ["listen.host: 'example.org' is not loopback"]),
        ("admin: {host: '::'}", ["admin.host: '::' is not loopback", "admin.token"]),
        ("admin: {host: '::', token: short}", ["admin.token", "at least 16"]),
        ("auth: {keys: [short]}", ["auth.keys.0", "at least 16"]),
        ("routing: {prefixes: exact}", ["routing.prefixes", "found 'exact'"]),
        ("routing: {token_wait: 0}", ["routing.token_wait", "found 0"]),
        ("routing: {prefixes: precise}", ["routing.prefixes: 'precise' needs an engine", "set kv_events of an engine"]),
        (FAR % "kv_events: 'h:5557'", ["engines.0.kv_events", "found 'h:5557'"]),
        (FAR % "kv_events: 'tcp://h:0'", ["engines.0.kv_events: 'tcp://h:0' has no port from 1 to 65535"]),
        (FAR % "kv_events: 'tcp://h:99999'", ["engines.0.kv_events", "has no port"]),
        (FAR % "kv_replay: 'tcp://h:5558'", ["engines.0.kv_replay: 'tcp://h:5558' stands alone; set kv_events"]),
        (
            "engines: [{kind: dns, name: a, host: h, kv_events: 'tcp://h:5557'}]",
            ["engines.0.kv_events: 'tcp://h:5557' is one host for all", "write tcp://*:5557"],
        ),
        (
            "routing: {prefixes: precise}\nengines: [{kind: vllm, name: a, model: m, flags: {kv_events_config.a: t}}]",
            ["engines.0.flags.kv_events_config.a: Penstock sets this itself", "remove the flag"],
        ),
        ("- a\n- b", ["must be keys such as `listen:`, found a list"]),
        ("listen: [", ["not valid YAML", "line"]),
        ("listen: {}\nlisten: {}", ["key 'listen' is written twice", "line 2"]),
        ("1: 2", ["a key must be plain text"]),
        ("a: &x 1\nb: *x", ["aliases"]),
        ("a: !!bool x", ["not valid YAML"]),
        ("a: !!timestamp x", ["not valid YAML"]),
        ("a: !!int ''", ["not valid YAML"]),
        ("a: !!python/name:os.system ''", ["not valid YAML"]),
        ("workers: !!set {a}", ["workers", "found set"]),
        ("[" * 2_000, ["not valid YAML"]),
        ("a: \x07", ["not valid YAML"]),
    ],
)
def test_refusals_name_field_value_and_fix(document: Path, text: str, parts: list[str]) -> None:
    message = refusal(document, text)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "engine",
    [
        "{kind: http, name: a, url: 'http://h', kv_events: 'tcp://10.0.0.5:5557', kv_replay: 'tcp://*:5558'}",
        "{kind: http, name: a, url: 'http://h', kv_events: 'tcp://[fd00::1]:5557'}",
        "{kind: dns, name: a, host: h, kv_events: 'tcp://*:5557'}",
        "{kind: vllm, name: a, model: m}",
    ],
)
def test_precise_prefixes_need_one_engine_that_tells(document: Path, engine: str) -> None:
    text = f"routing: {{prefixes: precise}}\nengines: [{engine}, {{kind: llamacpp}}]"
    assert read(document, text).config.routing.prefixes == "precise"


def test_a_flag_of_ones_own_is_fine_where_prefixes_are_guessed(document: Path) -> None:
    read(document, "engines: [{kind: vllm, name: a, model: m, flags: {kv-events-config: '{}'}}]")


def test_a_missing_file_is_named(document: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read config .*penstock\.yaml: No such file"):
        load(document, {})


def test_environment_references(document: Path) -> None:
    text = "auth: {keys: ['${KEY}']}\nlisten: {port: '${P}'}\nlog: {access: '/x/$${A}/${A}'}"
    loaded = read(document, text, {"KEY": KEY, "P": "9001", "A": "logs"})
    assert loaded.config.auth.keys == (KEY,)
    assert loaded.config.listen.port == 9001
    assert loaded.config.log.access == "/x/${A}/logs"
    assert loaded.origins["listen.port"] == f"{document} (${{P}})"
    assert loaded.referenced == {"auth.keys.0", "listen.port", "log.access"}
    assert "environment variable KEY is not set" in refusal(document, text)
    assert "is not a variable name" in refusal(document, "log: {access: '${a b}'}")


def test_the_value_of_a_reference_is_not_read_again(document: Path) -> None:
    assert read(document, "log: {access: '${A}'}", {"A": "${B}"}).config.log.access == "${B}"


def test_later_sources_win(document: Path) -> None:
    text = "listen: {port: 1111}\nadmin: {port: 2222}\nworkers: 2"
    document.write_text(text)
    env = {"PORT": "3333", "ADMIN_PORT": "4444", "HOST": "::1"}
    loaded = load(document, env, ("listen.port=5555", "timeouts.head=2.5"), (Flag("--port", "listen.port", 6666),))
    assert (loaded.config.listen.host, loaded.config.listen.port) == ("::1", 6666)
    assert (loaded.config.admin.port, loaded.config.workers, loaded.config.timeouts.head) == (4444, 2, 2.5)
    assert loaded.origins == {
        "listen.port": "--port",
        "listen.host": "environment variable HOST",
        "admin.port": "environment variable ADMIN_PORT",
        "workers": str(document),
        "timeouts.head": "--set timeouts.head",
    }


def test_overrides_reach_lists_and_the_default_engine() -> None:
    loaded = load(None, {}, ("engines.0.slots=8", f"auth.keys.0={KEY}", f"auth.keys.1={KEY}x"))
    assert loaded.config.engines == (LlamaCpp(slots=8),)
    assert loaded.config.auth.keys == (KEY, KEY + "x")
    whole = load(None, {}, ("engines=[{kind: http, name: a, url: http://h:1/v1}]",))
    assert whole.config.engines == (Http(name="a", url="http://h:1/v1"),)
    assert whole.origins["engines.0.url"] == "--set engines"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("listen.port", "write it as key.path=value"),
        ("=1", "write it as key.path=value"),
        ("listen..port=1", "empty part"),
        ("listen.prot=1", "did you mean 'port'"),
        ("engines.3.slots=1", "engines.3 does not exist; the list has 1 entries"),
        ("engines.x.slots=1", "engines.x does not exist"),
        ("workers.x=1", "workers: expected int"),
        ("listen.host=0.0.0.0", "(from --set listen.host)"),
        ("listen.port=2001-99-99", "found '2001-99-99' (from --set listen.port)"),
    ],
)
def test_wrong_overrides(override: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, (override,))
    assert part in str(caught.value)


def test_the_variable_that_set_a_wrong_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"listen\.host: 'box' is not loopback.*from environment variable HOST"):
        load(None, {"HOST": "box"})
    with pytest.raises(ConfigError, match=r"listen\.port.*found 'abc' \(from environment variable PORT\)"):
        load(None, {"PORT": "abc"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load(None, {}, (f"listen.host='{host}'", f"admin.host='{host}'")).config.listen.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.1.2.3", "::ffff:127.0.0.1", "127.1"])
def test_everything_else_needs_one(host: str) -> None:
    with pytest.raises(ConfigError, match=r"listen\.host.*auth lets everybody in"):
        load(None, {}, (f"listen.host='{host}'",))
    with pytest.raises(ConfigError, match=r"admin\.host.*admin\.token is empty"):
        load(None, {}, (f"admin.host='{host}'",))
    assert load(None, {}, (f"listen.host='{host}'", f"auth.keys.0={KEY}")).config.auth.keys == (KEY,)


@pytest.mark.parametrize("secret", ["with space in the key", "line\nend" + KEY, "é" * 20])
@pytest.mark.parametrize("field", ["auth.keys.0", "admin.token", "engines.0.api_key"])
def test_a_secret_that_no_header_can_carry_is_refused_unseen(document: Path, field: str, secret: str) -> None:
    text = {
        "auth.keys.0": "auth: {keys: ['${S}']}",
        "admin.token": "admin: {token: '${S}'}",
        "engines.0.api_key": "engines: [{kind: http, name: a, url: 'http://h', api_key: '${S}'}]",
    }[field]
    message = refusal(document, text, {"S": secret})
    assert message.startswith(f"{field}: ***")
    assert secret not in message


def test_a_failing_load_leaves_the_previous_one_untouched(document: Path) -> None:
    before = read(document, "workers: 3\nlisten: {port: 1234}")
    kept, origins = msgspec.json.encode(before.config), dict(before.origins)
    refusal(document, "workers: 0")
    assert msgspec.json.encode(before.config) == kept
    assert before.origins == origins
