"""What sections of the document are made of: bounded numbers, names, spans of time."""

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 lets the system choose one")]
YEAR = 31_536_000.0
"""Seconds; no span may be longer, since the event loop's timers overflow far above it."""
Seconds = Annotated[float, Meta(gt=0, le=YEAR, description="Seconds")]
SecondsOrOff = Annotated[float, Meta(ge=0, le=YEAR, description="Seconds; 0 switches it off")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Letters, digits, . _ -")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section: immutable, and an unknown key is an error."""
