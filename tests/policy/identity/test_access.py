"""What a key may use, and the ways around it that do not work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Forbidden
from penstock.core.tenant import Principal, Scopes, Tenant
from penstock.policy.identity.access import path_allowed, permit

CHAT = b"/v1/chat/completions"


def caller(models: tuple[str, ...] = (), endpoints: tuple[str, ...] = ()) -> Principal:
    return Principal(Tenant("o", "t", "k"), scopes=Scopes(models, endpoints))


def refusal(principal: Principal, path: bytes, model: str | None) -> str:
    with pytest.raises(Forbidden) as refused:
        permit(principal, path, model)
    assert (refused.value.status, refused.value.type, refused.value.retry) == (403, "permission_error", False)
    return refused.value.code


@given(st.binary(max_size=30), st.none() | st.text(max_size=10))
def test_a_key_without_scopes_may_use_everything(path: bytes, model: str | None) -> None:
    permit(caller(), path, model)


@pytest.mark.parametrize("model", ["gpt-4", "llama-3", "llama-"])
def test_models_by_name_and_by_beginning(model: str) -> None:
    permit(caller(("gpt-4", "llama-*")), CHAT, model)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "GPT-4", " gpt-4", "gpt-4\0", "gpt-", "xllama-3", "llama-\0", "*", "", None]
)
def test_other_models_are_refused(model: str | None) -> None:
    """One that is not named is any that an engine chooses."""
    assert refusal(caller(("gpt-4", "llama-*")), CHAT, model) == "model_not_allowed"


def test_the_list_of_models_needs_none_and_an_entry_names_its_own() -> None:
    bound = caller(("org/gpt", "llama-*"))
    for path in (b"/v1/models", b"/v1/models/", b"/v1/models/llama-3", b"/v1/models/org%2Fgpt", b"/v1/models/org/gpt"):
        permit(bound, path, None)
    for path in (b"/v1/models/gpt-4", b"/v1/modelsx", b"/v1/models/gpt-4%2f..%2fllama-3"):
        assert refusal(bound, path, None) == "model_not_allowed"
    assert refusal(bound, b"/v1/models/gpt-4", "llama-3") == "model_not_allowed"


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/v1/embeddings/", b"/v1/embeddings/x", b"/v1/audio/speech"])
def test_endpoints_and_what_is_below_them(path: bytes) -> None:
    permit(caller((), ("/v1/embeddings", "/v1/audio")), path, None)


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        b"/v1/embeddingsx",
        b"/v1/embedding",
        b"/v1",
        b"/",
        b"",
        b"/V1/embeddings",
        b"/v1/embeddings/../chat/completions",
        b"/v1/embeddings/./x",
        b"/v1/embeddings/%2e%2e/chat/completions",
        b"/v1/embeddings/%2E%2E%2Fchat",
        b"/v1/embeddings/..%2fchat",
        b"/v1/embeddings//chat",
        b"/v1/embeddings\\..\\chat",
        b"//v1/embeddings",
        b"/v1/./embeddings",
        b"/x/../v1/embeddings",
        b"/v1/embeddings%00",
        b"/v1/%65mbeddings",
    ],
)
def test_other_paths_are_refused(path: bytes) -> None:
    assert refusal(caller((), ("/v1/embeddings",)), path, None) == "endpoint_not_allowed"


@given(
    st.lists(st.sampled_from([b"/v1", b"/embeddings", b"/..", b"/.", b"//", b"%2e", b"\\", b"/chat", b"x"]), max_size=6)
)
def test_a_path_that_passes_is_inside_however_it_is_read(parts: list[bytes]) -> None:
    path = b"".join(parts)
    if path_allowed(Scopes(endpoints=("/v1/embeddings",)), path):
        assert path == b"/v1/embeddings" or path.startswith(b"/v1/embeddings/")
        assert b".." not in path
        assert b"%" not in path
