"""`https:` - any web server."""

from pathlib import Path

from penstock.engines.models.download import Downloader, Expected
from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import Reference


class HttpsSource:
    """Fetches a URL as it is written."""

    def __init__(self, downloader: Downloader) -> None:
        self._downloader = downloader

    def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
        self._downloader.fetch(reference.location, into, progress, Expected(sha256=reference.sha256))
