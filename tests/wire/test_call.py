"""What is read of a request body: model and stream flag, from JSON and forms, whatever the bytes."""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BadRequest
from penstock.core.request import Request
from penstock.wire.multipart import model_of
from penstock.wire.openai import Call, read_call

SOUP = st.lists(
    st.sampled_from(
        [b'{"model":', b'"m"', b"{", b"}", b'"stream":true', b",", b"--X\r\n", b"\r\n\r\n", b'name="model"']
    )
    | st.binary(max_size=5),
    max_size=12,
).map(b"".join)


def call_of(body: bytes) -> Call:
    request = Request(0.0)
    request.body = body
    call = read_call(request)
    assert request.body is body, "the client's own bytes stay"
    return call


@given(body=st.binary(max_size=60) | SOUP)
def test_any_bytes_are_a_call_or_a_bad_request(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(call_of(body), Call)


@given(
    model=st.text(),
    stream=st.booleans(),
    rest=st.dictionaries(st.text().filter(lambda key: key not in ("model", "stream", "stream_options")), st.text()),
    lead=st.sampled_from([b"", b" ", b"\n\t"]),
)
def test_the_model_is_read_wherever_it_stands(model: str, stream: bool, rest: dict[str, str], lead: bytes) -> None:
    call = call_of(lead + json.dumps({**rest, "model": model, "stream": stream}).encode())
    assert (call.model, call.stream) == (model, stream)


BOUNDARY = st.text("abcXYZ-0189", min_size=1, max_size=40)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=40)
CONTENT = st.lists(
    st.sampled_from(
        [b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n--', b"\r\n--", b"--other--\r\n", b"\0"]
    )
    | st.binary(max_size=10),
    max_size=6,
).map(b"".join)


@given(boundary=BOUNDARY, model=VALUE, content=CONTENT, first=st.booleans(), quoted=st.booleans(), typed=st.booleans())
def test_the_model_of_a_form_is_its_field_and_not_what_a_file_holds(
    boundary: str, model: str, content: bytes, first: bool, quoted: bool, typed: bool
) -> None:
    edge = b"--" + boundary.encode()
    if b"\r\n" + edge in content:
        return  # no form: its boundary stands inside a part
    disposition = (
        b'content-disposition: FORM-DATA; name="model"' if quoted else b"Content-Disposition: form-data; name=model"
    )
    kind = b"Content-Type: text/plain\r\n" if typed else b""
    field = edge + b"\r\n" + kind + disposition + b"\r\n\r\n" + model.encode() + b"\r\n"
    file = edge + b'\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n' + content + b"\r\n"
    other = edge + b'\r\nContent-Disposition: form-data; name="model_x"\r\n\r\nno\r\n'
    parts = (field, file, other) if first else (other, file, field)
    assert model_of(b"".join(parts) + edge + b"--\r\n") == model.strip()
    assert model_of(file + other + edge + b"--\r\n") == ""


@pytest.mark.parametrize(
    "body",
    [
        b"--X\r\n" + b"Content-Disposition: form-data; name=model\r\n" * 40_000,
        b"--X\r\nContent-Disposition: form-data;" + b"name=model;" * 100_000,
        b"--X\r\n" * 200_000,
        b"--" + b"X" * 1_000_000,
    ],
)
def test_hostile_forms_cost_little(body: bytes) -> None:
    """A body is read on the event loop: what takes a second here stops every stream for a second."""
    begun = time.process_time()
    model_of(body)
    assert time.process_time() - begun < 0.2


def form(*models: str) -> bytes:
    """A form with a field `model` for each of `models`, and a file before the last of them."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n' for model in models]
    parts.insert(len(parts) - 1, '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n')
    return ("".join(parts) + "--x--\r\n").encode()


def test_a_form_that_names_two_models_names_none() -> None:
    """An engine may take the last, and what a caller may use was judged by the first."""
    assert model_of(form("allowed", "allowed")) == "allowed"
    for models in (("allowed", "other"), ("other", "allowed", "allowed"), ("", "allowed"), ("allowed", "")):
        assert model_of(form(*models)) == ""


def test_a_body_that_names_two_models_names_the_last() -> None:
    """As every engine's parser of JSON does."""
    request = Request(0.0)
    request.body = b'{"model":"first","model":"last"}'
    assert read_call(request).model == "last"
