"""`hf:` - a Hugging Face hub, or a mirror of it."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx

from penstock.engines.models.download import Downloader, Expected, open_client
from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import Reference, hub_location

_DIGEST = re.compile(r"[0-9a-f]{64}")


class HubSource:
    """Fetches `$HF_ENDPOINT/ORG/REPO/resolve/REV/FILE`, with HF_TOKEN when that is set."""

    def __init__(
        self,
        downloader: Downloader,
        environ: Mapping[str, str],
        connect: Callable[[], httpx.Client] = open_client,
    ) -> None:
        self._downloader = downloader
        self._endpoint = (environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._token = environ.get("HF_TOKEN", "").strip()
        self._connect = connect

    def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
        place = hub_location(reference)
        path = f"{place.repository}/resolve/{quote(place.revision, safe='')}/{quote(place.file)}"
        url = f"{self._endpoint}/{path}"
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        expected = Expected(sha256=reference.sha256) if reference.sha256 else self._announced(url, headers)
        self._downloader.fetch(url, into, progress, expected, headers)

    def _announced(self, url: str, headers: dict[str, str]) -> Expected:
        """Digest and size of a large file as the hub itself states them, before it redirects to its storage.

        A hub that does not answer this, or not in these headers, only costs the check.
        """
        try:
            with self._connect() as client:
                answer = client.head(url, headers=headers, follow_redirects=False)
        except httpx.HTTPError:
            return Expected()
        digest = answer.headers.get("x-linked-etag", "").strip('"')
        size = answer.headers.get("x-linked-size", "")
        if not _DIGEST.fullmatch(digest):
            return Expected()
        return Expected(sha256=digest, size=int(size) if size.isdecimal() else 0)
