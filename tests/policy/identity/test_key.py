"""A secret is seen only by who asks for it."""

import copy
import json
import logging
import pickle

import msgspec
import pytest

from penstock.policy.identity.key import ALPHABET, ID_CHARS, LENGTH, SECRET_CHARS, Secret, digest, written


def test_the_form_of_a_key_and_its_bits() -> None:
    key = written("a" * ID_CHARS, "b" * SECRET_CHARS).reveal()
    assert key == f"sk-ps-{'a' * 12}-{'b' * 40}"
    assert len(key) == LENGTH
    assert len(set(ALPHABET)) == 32
    assert 5 * SECRET_CHARS >= 160


def test_only_a_digest_is_kept() -> None:
    # SHA-256 of "abc": FIPS 180-4, example 1.
    assert digest("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_secret_shows_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("hush-hush")
    logging.getLogger("test").error("%s %r %s", secret, secret, {"key": secret})
    shown = [str(secret), repr(secret), f"{secret}", f"{[secret]}", caplog.text]
    assert not [text for text in shown if "hush" in text]
    assert "***" in caplog.text
    assert not hasattr(secret, "__dict__")
    for encode in (json.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, copy.copy):
        with pytest.raises(TypeError) as refused:
            encode(secret)
        assert "hush" not in str(refused.value)
