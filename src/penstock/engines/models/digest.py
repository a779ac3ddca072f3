"""SHA-256 of files, and the words for content that is not what it should be."""

import hashlib
from pathlib import Path

from penstock.core.errors import ModelError

CHUNK = 1024 * 1024


def sha256_of(path: Path) -> str:
    """Hex digest of the whole file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def damaged(what: str, expected: str, found: str, fix: str) -> ModelError:
    """The refusal of content with the wrong digest."""
    return ModelError(f"{what} is damaged: expected sha256 {expected}, found {found}; {fix}")


def wrong_size(what: str, expected: int, found: int, fix: str) -> ModelError:
    """The refusal of content that is short or too long, where no digest is worth computing."""
    return ModelError(f"{what} has the wrong size: expected {expected} bytes, found {found}; {fix}")
