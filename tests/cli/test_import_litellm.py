"""LiteLLM's config.yaml as a config of ours: what is taken over loads, and the rest is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import load
from penstock.config.litellm.convert import LIMITS, Imported, convert
from penstock.core.limit import Level, Measure, Rule, Span
from tests.cli.conftest import Run

ENV = dict.fromkeys(("OPENAI_API_KEY", "ZEPHYR_API_KEY", "PENSTOCK_ADMIN_TOKEN", "MASTER", "MODEL_API_KEY"), "x" * 24)
# The shapes are those of LiteLLM's documentation: proxy/configs.md, proxy/virtual_keys.md, proxy/config_settings.md.
DOCUMENT = """
environment_variables: {REDIS_HOST: cache}
model_list:
  - model_name: vllm-models
    litellm_params: {model: openai/facebook/opt-125m, api_base: http://127.0.0.1:4000/v1, api_key: none, rpm: 1440}
    model_info: {version: 2}
  - model_name: gpt-4o
    litellm_params: {model: gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 200, tags: [a], max_parallel_requests: 4}
  - model_name: gpt-4o
    litellm_params: {model: azure/gpt-4o-ca, api_base: "https://x.example/", api_key: os.environ/AZURE}
  - model_name: zephyr
    litellm_params: {model: hosted_vllm/Hug/zephyr, api_base: "http://127.0.0.1:8001", rpm: 60, tpm: 1000}
  - model_name: zephyr
    litellm_params: {model: hosted_vllm/Hug/zephyr, api_base: "http://127.0.0.1:8002", rpm: 60, api_key: sk-hush}
litellm_settings:
  drop_params: True
  num_retries: 3
  request_timeout: 10
  fallbacks: [{"zephyr": ["gpt-4o", "vllm-models"]}]
  max_budget: 100
  budget_duration: 30d
  default_key_generate_params: {max_budget: 1.5, budget_duration: 7d, tpm_limit: 1000, models: [x], duration: }
router_settings: {routing_strategy: least-busy, model_group_alias: {gpt-4: gpt-4o}, allowed_fails: 3, redis_host: x}
general_settings: {master_key: sk-hush-hush, database_url: "postgres://u:hush@h/d", global_max_parallel_requests: 50}
"""


def imported(text: str = DOCUMENT) -> Imported:
    return convert(yaml.safe_load(text))


def loaded(found: Imported, path: Path) -> Any:
    document = {name: value for name, value in found.document.items() if name != LIMITS}
    path.write_text(yaml.safe_dump(document))
    return load(path, ENV).config


def test_what_is_taken_over_loads_and_means_the_same(tmp_path: Path) -> None:
    config = loaded(imported(), tmp_path / "penstock.yaml")
    engines = {engine.name: (engine.url, engine.api_key, engine.models) for engine in config.engines}
    assert engines == {
        "127.0.0.1-4000": ("http://127.0.0.1:4000/v1", "", ("facebook/opt-125m",)),
        "api.openai.com": ("https://api.openai.com/v1", "x" * 24, ("gpt-4o",)),
        "127.0.0.1-8001": ("http://127.0.0.1:8001", "", ("Hug/zephyr",)),
        "127.0.0.1-8002": ("http://127.0.0.1:8002", "x" * 24, ("Hug/zephyr",)),
    }
    assert {name: model.fallbacks for name, model in config.models.items()} == {
        "vllm-models": ("facebook/opt-125m",),
        "zephyr": ("Hug/zephyr", "gpt-4o", "facebook/opt-125m"),
        "gpt-4": ("gpt-4o",),
        "gpt-4o": (),
    }
    assert config.models["gpt-4o"].max_in_flight == 4
    assert (config.admin.token, config.auth.keys) == ("x" * 24, ("x" * 24,))
    assert config.routing.policy == "least_load"
    assert (config.resilience.attempts, config.resilience.breaker_failures, config.timeouts.total) == (4, 4, 10.0)


def test_limits_become_rules() -> None:
    rules = {rule.name: rule for rule in imported().rules}
    assert rules["zephyr_rpm"] == Rule(
        "zephyr_rpm", Measure.REQUESTS, 120, Level.ALL, window_s=60.0, models=("zephyr",)
    )
    assert rules["zephyr_tpm"].measure is Measure.TOTAL_TOKENS
    assert rules["max_budget"] == Rule("max_budget", Measure.SPEND, 100 * 10**9, Level.ALL, span=Span.MONTH)
    assert rules["global_max_parallel_requests"].measure is Measure.CONCURRENT_REQUESTS
    assert rules["key_tpm_limit"] == Rule("key_tpm_limit", Measure.TOTAL_TOKENS, 1000, Level.KEY, window_s=60.0)
    assert rules["key_max_budget"].window_s == 7 * 86_400
    assert imported().document[LIMITS]


def test_everything_else_is_named_by_its_place() -> None:
    notes = {(note.place, note.imported) for note in imported().notes}
    for place in (
        "environment_variables.REDIS_HOST",
        "model_list[0].model_info.version",
        "model_list[1].litellm_params.tags",
        "model_list[2].litellm_params.model",
        "model_list[2].litellm_params.api_key",
        "litellm_settings.drop_params",
        "litellm_settings.default_key_generate_params.models",
        "router_settings.redis_host",
        "general_settings.database_url",
    ):
        assert (place, False) in notes, place
    for place in ("model_list[0].litellm_params.rpm", "router_settings.allowed_fails", "general_settings.master_key"):
        assert (place, True) in notes, place


def leaves(value: Any, place: str) -> list[str]:
    """Places of all values; those of lists of texts are the list's."""
    if isinstance(value, dict) and value:
        return [leaf for name, inner in value.items() for leaf in leaves(inner, f"{place}.{name}" if place else name)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, f"{place}[{index}]")]
    return [place]


KNOWN = ["rpm", "tpm", "model", "api_base", "api_key", "max_parallel_requests", "tpm_limit", "max_budget", "timeout"]
KNOWN += [
    "budget_duration",
    "num_retries",
    "fallbacks",
    "master_key",
    "routing_strategy",
    "cooldown_time",
    "novel",
    "odd",
]
values = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**60)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["os.environ/MASTER", "http://127.0.0.1:1", "${X}", "least-busy", "7d", "*", "openai/a", "b"])
)
sections = st.dictionaries(st.sampled_from(KNOWN), values | st.lists(values, max_size=2), max_size=5)
deployments = st.lists(
    st.fixed_dictionaries(
        {}, optional={"model_name": values, "litellm_params": sections | values, "model_info": sections}
    ),
    max_size=3,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "model_list": deployments | values,
        "litellm_settings": sections | values,
        "router_settings": sections,
        "general_settings": sections,
        "odd": values,
    },
)


@given(documents)
def test_no_field_is_dropped_in_silence_and_the_result_loads(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    found = convert(document)
    config = loaded(found, tmp_path_factory.getbasetemp() / "imported.yaml")
    assert config.engines
    noted = {note.place for note in found.notes}
    for place in leaves(document, ""):
        name = place.rpartition(".")[2]
        if name in ("novel", "odd"):
            assert any(place == each or place.startswith((f"{each}.", f"{each}[")) for each in noted), (place, noted)


def test_a_secret_in_the_file_goes_nowhere(run: Run, tmp_path: Path) -> None:
    Path("config.yaml").write_text(DOCUMENT)
    ran = run("import", "litellm", "config.yaml")
    shown = run("import", "litellm", "config.yaml", "--json")
    assert "hush" not in ran.out + ran.err + shown.out + shown.err
    assert "export ZEPHYR_API_KEY with it" in ran.err
    assert json.loads(shown.out)["config"] == yaml.safe_load(ran.out)


def test_two_secrets_have_two_variables() -> None:
    found = imported(
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: a, api_key: one}}\n"
        "- {model_name: a, litellm_params: {model: a, api_key: two}}\n"
        "- {model_name: a, litellm_params: {model: b, api_key: one}}\n"
    )
    engines: Any = found.document["engines"]
    assert [engine["api_key"] for engine in engines] == ["${A_API_KEY}", "${A_API_KEY_2}"]
    assert engines[0]["models"] == ["a", "b"]


def test_wildcards() -> None:
    found = imported(
        "model_list:\n"
        '- {model_name: "*", litellm_params: {model: "openai/*"}}\n'
        '- {model_name: "claude-*", litellm_params: {model: openai/x}}\n'
    )
    assert found.document["engines"] == [
        {"kind": "http", "name": "api.openai.com", "url": "https://api.openai.com/v1", "api_key": "${OPENAI_API_KEY}"}
    ]
    assert ["stands for many names" in note.text for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("duration", "span", "window_s"),
    [("24h", Span.DAY, 0), ("1d", Span.DAY, 0), ("30d", Span.MONTH, 0), ("1mo", Span.MONTH, 0), ("30m", None, 1800)],
)
def test_budgets_begin_anew_as_litellms_do(duration: str, span: Span | None, window_s: float) -> None:
    (rule,) = imported(f"litellm_settings: {{max_budget: 0.1, budget_duration: {duration}}}").rules
    assert (rule.limit, rule.span, rule.window_s) == (10**8, span, window_s)


def test_a_file_is_written_once(run: Run) -> None:
    Path("config.yaml").write_text(DOCUMENT)
    assert run("import", "litellm", "config.yaml", "-o", "penstock.yaml").out == ""
    assert "engines:" in Path("penstock.yaml").read_text()
    assert "cannot write" in run("import", "litellm", "config.yaml", "-o", "penstock.yaml").refusal


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (DOCUMENT, 1),
        ("router_settings: {allowed_fails: 1}", 1),
        ("model_list:\n- {model_name: gpt-4o, litellm_params: {model: gpt-4o}}", 0),
    ],
)
def test_strict_counts_what_was_skipped(run: Run, text: str, code: int) -> None:
    Path("config.yaml").write_text(text)
    assert run("import", "litellm", "config.yaml", "--strict").code == code
    assert run("import", "litellm", "config.yaml").code == 0


def test_what_cannot_be_read_is_one_line(run: Run) -> None:
    assert "cannot read config" in run("import", "litellm", "nothing.yaml").refusal
    Path("config.yaml").write_text("model_list: [")
    assert "not valid YAML" in run("import", "litellm", "config.yaml").refusal
