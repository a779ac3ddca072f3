"""What llama.cpp is told."""

import pytest

from penstock.core.errors import ConfigError
from penstock.engines.llamacpp.params import build
from penstock.engines.llamacpp.settings import LlamaCppSettings

SETTINGS = LlamaCppSettings(name="local", model_path="/models/a.gguf", alias="smol", slots=3)


def with_extra(**extra: str | int | float | bool) -> LlamaCppSettings:
    return LlamaCppSettings(name="local", model_path="/models/a.gguf", alias="smol", extra=extra)


def test_settings_reach_llama_cpp() -> None:
    params = build(SETTINGS, cores=4, port=1234)
    assert (params.model.path, params.model_alias) == ("/models/a.gguf", {"smol"})
    assert (params.n_ctx, params.n_parallel, params.kv_unified) == (8192, 3, True)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (3, 3)
    assert (params.hostnames, params.port) == (["127.0.0.1"], 1234)
    assert params.cache_prompt
    assert params.endpoint_metrics


def test_extra_sets_plain_nested_and_enumerated_parameters() -> None:
    params = build(with_extra(n_ubatch=256, cache_type_k=8, **{"sampling.temp": 0.5}), cores=2, port=0)
    assert params.n_ubatch == 256
    assert int(params.cache_type_k) == 8
    assert params.sampling.temp == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("n_ubach", 1, "did you mean 'n_ubatch'"),
        ("sampling.tmp", 1.0, "did you mean 'temp'"),
        ("zzzzqqqq", 1, "no parameter 'zzzzqqqq'"),
        ("n_ctx", 1, "use `context_tokens`"),
        ("model.path", "/x", "use `model`"),
        ("port", 1, "Penstock sets this itself"),
        ("n_ubatch", "many", "does not fit"),
        ("n_ubatch", True, "write a number"),
        ("swa_full", "no", "write true or false"),
        ("antiprompt", "x", "cannot be written here"),
        ("__class__", 1, "no parameter"),
    ],
)
def test_a_wrong_extra_is_refused(name: str, value: str | int | float | bool, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^extra\.") as caught:
        build(with_extra(**{name: value}), cores=2, port=0)
    assert says in str(caught.value)
    assert name in str(caught.value)
