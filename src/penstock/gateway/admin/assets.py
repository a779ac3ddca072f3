"""The console's files, read once from the package: what is not in the list does not exist."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.core.errors import NotFound

PACKAGE = "penstock.gateway.console"
PAGE = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to send."""

    body: bytes
    media_type: str
    etag: str


class Console:
    """Serves the page and its files."""

    def __init__(self) -> None:
        self._assets = load()

    def routes(self) -> list[Route]:
        """`/` and `/console/<file>`."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/console/{name}", self.file, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The page."""
        return self._send(PAGE, request)

    async def file(self, request: Request) -> Response:
        """What the page links to."""
        return self._send(request.path_params["name"], request)

    def _send(self, name: str, request: Request) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise NotFound(f"the console has no file {name!r}")
        # Revalidated each time: an upgraded Penstock must not meet its old scripts.
        headers = {"etag": asset.etag, "cache-control": "no-cache", "content-type": asset.media_type}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers)


def load() -> dict[str, Asset]:
    """Every packaged file of a known type, by name."""
    found: dict[str, Asset] = {}
    for entry in resources.files(PACKAGE).iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in TYPES:
            body = entry.read_bytes()
            found[entry.name] = Asset(body, TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found
