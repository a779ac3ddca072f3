"""The seam between the store and the places that models come from."""

from pathlib import Path
from typing import Protocol

from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import Reference


class Source(Protocol):
    """One kind of place."""

    def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
        """Puts the file at `into`, which appears whole or not at all.

        Partial work stays beside `into` and is continued by the next call. The caller holds a lock on the
        folder and checks the content afterwards. Raises ModelError.
        """
