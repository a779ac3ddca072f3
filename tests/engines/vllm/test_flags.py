"""Flags of `vllm serve`: read from its help, checked, turned into a command line."""

import json

import pytest

from penstock.core.errors import ConfigError
from penstock.engines.vllm.child import last_errors
from penstock.engines.vllm.drain import unfinished
from penstock.engines.vllm.events import with_events
from penstock.engines.vllm.flags import Option, command_line, read_help
from penstock.engines.vllm.settings import Flag, VllmSettings
from penstock.engines.vllm.supervise import environment
from tests.engines.vllm.fake import HELP

KNOWN = read_help(HELP)


def line(**flags: Flag) -> list[str]:
    """What `flags` add to the command line."""
    return command_line(VllmSettings("a", "m", flags=flags), 1, KNOWN)[8:]


def test_the_help_is_read() -> None:
    assert "not-a-flag" not in KNOWN
    assert KNOWN["enable-lora"] == Option("enable-lora", "none", negative=True)
    assert KNOWN["disable-log-stats"] == Option("disable-log-stats", "none")
    assert KNOWN["dtype"] == Option("dtype", "one", ("auto", "bfloat16", "half"))
    assert KNOWN["allowed-origins"].values == "many"
    assert KNOWN["api-server-count"].values == "one"
    assert read_help("Segmentation fault\n") == {}


def test_the_command_line_has_what_is_ours_and_what_was_asked() -> None:
    settings = VllmSettings("a", "/models/x", served_name="x", adapters={"red": "/r"}, flags={"dtype": "half"})
    assert command_line(settings, 81, KNOWN) == [
        "serve", "/models/x", "--served-model-name", "x", "--host", "127.0.0.1", "--port", "81",
        "--lora-modules", "red=/r", "--dtype=half", "--enable-lora",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_model_len", 4096, ["--max-model-len=4096"]),
        ("max-model-len", "4k", ["--max-model-len=4k"]),
        ("enforce-eager", True, ["--enforce-eager"]),
        ("enforce-eager", False, ["--no-enforce-eager"]),
        ("disable-log-stats", False, []),
        ("swap-space", -1, ["--swap-space=-1"]),
        ("allowed-origins", ["a", "b"], ["--allowed-origins", "a", "b"]),
        ("middleware", ["a", "b"], ["--middleware=a", "--middleware=b"]),
        ("kv-events-config.publisher", "zmq", ["--kv-events-config.publisher=zmq"]),
        ("kv_events_config.buffer_steps", 5, ["--kv-events-config.buffer_steps=5"]),
    ],
)
def test_values_become_words(name: str, value: Flag, words: list[str]) -> None:
    assert line(**{name: value}) == words


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max-modle-len", 1, "has no flag '--max-modle-len'; did you mean 'max-model-len'"),
        ("zzz", 1, "has no flag '--zzz'$"),
        ("no-enforce-eager", True, "write `enforce-eager: false` instead"),
        ("enforce-eager", "yes", "write true or false"),
        ("max-model-len", True, "true does not fit"),
        ("dtype", "int3", "one of: auto, bfloat16, half"),
        ("port", 8000, "Penstock sets this itself$"),
        ("served_model_name", "x", "use `served_name`"),
    ],
)
def test_what_vllm_would_not_take_is_refused_before_the_start(name: str, value: Flag, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^flags.{name}: .*{says}"):
        line(**{name: value})


def test_adapters_may_change_at_run_time_only_where_lora_is_on() -> None:
    key = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
    assert key not in environment(VllmSettings("a", "m"), {})
    assert environment(VllmSettings("a", "m", flags={"enable_lora": True}), {})[key] == "1"
    assert key not in environment(VllmSettings("a", "m", adapters={"r": "/r"}, runtime_adapters=False), {})
    mine = VllmSettings("a", "m", adapters={"r": "/r"}, environment={key: "0"})
    assert environment(mine, {"PATH": "/bin"}) == {"VLLM_NO_USAGE_STATS": "1", key: "0", "PATH": "/bin"}


def test_the_root_cause_is_told_not_its_echo() -> None:
    log = ["INFO fine", "ERROR [core.py:1] ValueError: too long", "RuntimeError: failed. See root cause above."]
    assert last_errors(log) == "ValueError: too long"
    assert last_errors(["vllm serve: error: argument --x: bad"]) == "error: argument --x: bad"
    assert last_errors(["INFO fine"]) == ""


def test_an_engine_that_does_not_tell_is_not_idle() -> None:
    text = 'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_running{engine="1"} 2.0\n'
    assert unfinished(text, 0.0) is None
    assert unfinished(text + 'vllm:num_requests_waiting{engine="0"} 4.0\n', 0.0) == 7.0
    assert unfinished("", 0.0) is None


def test_events_are_published_where_no_other_machine_hears_them() -> None:
    settings, addresses = with_events(VllmSettings("a", "m", flags={"seed": 1}, kv_events=True), KNOWN)
    words = command_line(settings, 1, KNOWN)
    (word,) = (each for each in words if each.startswith("--kv-events-config="))
    config = json.loads(word.partition("=")[2])
    assert config == {
        "enable_kv_cache_events": True, "publisher": "zmq",
        "endpoint": addresses["kv_events"], "replay_endpoint": addresses["kv_replay"],
    }  # fmt: skip
    assert len(set(addresses.values())) == 2
    assert all(address.startswith("ipc://@") for address in addresses.values())
    assert "--seed=1" in words
    assert with_events(settings, KNOWN)[1] != addresses, "each start has its own"


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        (VllmSettings("a", "m"), KNOWN),
        (VllmSettings("a", "m", kv_events=True), {}),
        (VllmSettings("a", "m", kv_events=True, flags={"data_parallel_size": 2}), KNOWN),
    ],
)
def test_no_events_unless_wanted_known_and_of_one_cache(settings: VllmSettings, known: dict[str, Option]) -> None:
    assert with_events(settings, known) == (settings, {"kv_events": "", "kv_replay": ""})
