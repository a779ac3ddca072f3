"""References: what is accepted, what is refused, and how."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.engines.models.known import DEFAULT, KNOWN, wanted
from penstock.engines.models.reference import hub_location, parse, pypi_location

DIGEST = "ab" * 32
WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
PATH = st.lists(WORD, min_size=1, max_size=4).map("/".join)
PIN = st.sampled_from(["", f"#sha256={DIGEST}"])


@given(WORD, WORD, PATH, PIN)
def test_pypi_round_trips(package: str, version: str, member: str, pin: str) -> None:
    text = f"pypi:{package}=={version}!{member}{pin}"
    reference = parse(text)
    place = pypi_location(reference)
    assert (place.package, place.version, place.member) == (package, version, member)
    assert str(reference) == text
    assert parse(str(reference)) == reference


@given(WORD, WORD, PATH, st.none() | WORD, PIN)
def test_hub_round_trips(org: str, repo: str, file: str, revision: str | None, pin: str) -> None:
    text = f"hf:{org}/{repo}/{file}" + (f"@{revision}" if revision else "") + pin
    reference = parse(text)
    place = hub_location(reference)
    assert (place.repository, place.file, place.revision) == (f"{org}/{repo}", file, revision or "main")
    assert parse(str(reference)) == reference


@given(WORD, PATH, PIN)
def test_web_and_file_round_trip(host: str, path: str, pin: str) -> None:
    for text in (f"https://{host}/{path}{pin}", f"file:/{path}{pin}"):
        reference = parse(text)
        assert str(reference) == text
        assert reference.file_name == path.rpartition("/")[2]


@given(st.text(max_size=60) | st.sampled_from(["pypi:", "hf:", "https:", "file:"]).flatmap(
    lambda scheme: st.text("./!=@#:%\\ a\x00\n[]?", max_size=30).map(lambda rest: scheme + rest)
))  # fmt: skip
def test_any_text_parses_or_is_a_config_error_and_the_name_is_safe(text: str) -> None:
    try:
        reference = parse(text, "engines.0.model")
    except ConfigError:
        return
    assert reference.file_name not in ("", ".", "..")
    assert not set("/\\\x00") & set(reference.file_name)
    assert parse(str(reference)) == reference
    assert "/" not in wanted(text).name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/a.gguf", "names no known source"),
        ("pypi:pkg!a.gguf", "exact version"),
        ("pypi:pkg==1.0", "file name"),
        ("pypi:pkg==1.0!../a.gguf", "steps out"),
        ("hf:org/a.gguf", "hf:ORG/REPO/FILE"),
        ("hf:org/repo/a.gguf@", "hf:ORG/REPO/FILE"),
        ("hf:org/repo/../a.gguf", "steps out"),
        ("https:/host/a.gguf", "not a URL"),
        ("https://host/", "file name"),
        ("https://host/%2e%2e", "file name"),
        ("http://host/a.gguf", "plain http"),
        ("file:a.gguf", "absolute path"),
        ("file:/a.gguf#md5=1", "sha256=HEX"),
        ("file:/a.gguf#sha256=12", "64 hex digits"),
        ("file:/" + "a" * 300, "longer than 200"),
        (" file:/a.gguf ", "no known source"),
    ],
)
def test_a_wrong_reference_names_field_value_and_fix(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "engines.0.model")
    assert str(caught.value).startswith("engines.0.model: ")
    assert says in str(caught.value)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("https://me:secret@host/a.gguf")
    assert "secret" not in str(caught.value)


def test_the_default_model_is_pinned() -> None:
    known = KNOWN[DEFAULT]
    assert known.reference.sha256
    assert wanted(DEFAULT).size == known.size
    assert wanted(str(known.reference)).name == DEFAULT
    assert wanted(f"pypi:{known.reference.location}").reference.sha256
    assert wanted(f"pypi:{known.reference.location}#sha256={DIGEST}").name != DEFAULT


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{DEFAULT}'"):
        wanted("smollm2-135m-instuct")
