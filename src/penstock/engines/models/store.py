"""The folder that keeps model files: `models/NAME/FILE`, with a manifest beside each."""

import datetime
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.core.clock import type_of_clock, wall
from penstock.core.errors import ConfigError, ModelError
from penstock.core.registry import Registry
from penstock.engines.models.digest import damaged, sha256_of, wrong_size
from penstock.engines.models.known import KNOWN, Wanted, wanted
from penstock.engines.models.lock import held
from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import parse
from penstock.engines.models.source import Source

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True):
    """What was true of the file when it was last read from end to end."""

    reference: str
    file: str
    size: int
    """Bytes."""
    sha256: str
    mtime_ns: int
    """Modification time of the file; it tells whether the file was touched since."""
    pulled_at: str
    """ISO 8601, UTC."""


class StoredModel(msgspec.Struct, frozen=True):
    """A model that is here."""

    name: str
    path: Path
    manifest: Manifest


def cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """`$PENSTOCK_CACHE`, else `$XDG_CACHE_HOME/penstock`, else `~/.cache/penstock`."""
    if chosen := environ.get("PENSTOCK_CACHE"):
        return Path(chosen).absolute()
    base = environ.get("XDG_CACHE_HOME", "")
    # A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
    return (Path(base) if base.startswith("/") else home / ".cache") / "penstock"


class Store:
    """Keeps model files under one folder and vouches for their content."""

    def __init__(self, root: Path, sources: Registry[Source], clock: type_of_clock = wall) -> None:
        self._models = root / "models"
        self._sources = sources
        self._clock = clock

    def find(self, text: str) -> StoredModel | None:
        """The model, None when it was never pulled. Cheap while size and modification time are as noted.

        Otherwise the file is read: raises ModelError with the expected and the found digest if it changed.
        """
        asked = self._wanted(text)
        manifest = self._manifest(asked)
        if manifest is None:
            return None
        model = StoredModel(asked.name, self._models / asked.name / manifest.file, manifest)
        if not _untouched(model):
            return self._check(model)
        return model

    def pull(self, text: str, progress: Progress) -> StoredModel:
        """The model, fetched if it is not here or damaged. Raises ModelError."""
        asked = self._wanted(text)
        folder = self._models / asked.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with held(folder / ".lock", progress):
                return self._pull_locked(text, asked, folder, progress)
        except OSError as error:
            why = error.strerror or error
            raise ModelError(f"cannot use {folder}: {why}; check it, or set PENSTOCK_CACHE") from error

    def verify(self, text: str) -> StoredModel:
        """Reads the whole file. Raises ModelError when it is missing, short or damaged."""
        asked = self._wanted(text)
        manifest = self._manifest(asked)
        if manifest is None:
            raise ModelError(f"{asked.name} is not here; run: penstock models pull {text}")
        return self._check(StoredModel(asked.name, self._models / asked.name / manifest.file, manifest))

    def list(self) -> list[StoredModel]:
        """Every model that was pulled, sound or not, by name."""
        found = []
        for path in sorted(self._models.glob(f"*/{MANIFEST}")):
            manifest = _read(path)
            if manifest is not None:
                found.append(StoredModel(path.parent.name, path.parent / manifest.file, manifest))
        return found

    def _wanted(self, text: str) -> Wanted:
        """What `text` names: a known model, a reference, or the name of a folder of the store."""
        if text not in KNOWN and ":" not in text:
            for model in self.list():
                if model.name == text:
                    return wanted(model.manifest.reference)
        return wanted(text)

    def _manifest(self, asked: Wanted) -> Manifest | None:
        manifest = _read(self._models / asked.name / MANIFEST)
        # A pin that changed asks for other content than what is here.
        if manifest is None or (asked.reference.sha256 and manifest.sha256 != asked.reference.sha256):
            return None
        return manifest

    def _pull_locked(self, text: str, asked: Wanted, folder: Path, progress: Progress) -> StoredModel:
        try:
            here = self.find(text)
        except ModelError as error:
            progress.message(f"{error}; fetching it again")
            here = None
        if here is not None:
            return here
        staged = folder / f"{asked.reference.file_name}.fetched"
        self._sources[asked.reference.source].fetch(asked.reference, staged, progress)
        try:
            manifest = self._examine(asked, staged)
        except ModelError:
            staged.unlink(missing_ok=True)
            raise
        final = folder / manifest.file
        # The manifest goes first and comes back last: it never vouches for content that was not read.
        (folder / MANIFEST).unlink(missing_ok=True)
        staged.replace(final)
        _write(folder / MANIFEST, manifest)
        return StoredModel(asked.name, final, manifest)

    def _examine(self, asked: Wanted, path: Path) -> Manifest:
        """Reads back what reached the disk and holds it against what was asked for."""
        fix = "it was removed; the source does not hold the file that was expected"
        size = path.stat().st_size
        if asked.size and size != asked.size:
            raise wrong_size(f"the file fetched from {asked.reference}", asked.size, size, fix)
        mtime_ns, found = path.stat().st_mtime_ns, sha256_of(path)
        if asked.reference.sha256 and found != asked.reference.sha256:
            raise damaged(f"the file fetched from {asked.reference}", asked.reference.sha256, found, fix)
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).isoformat(timespec="seconds")
        return Manifest(str(asked.reference), asked.reference.file_name, size, found, mtime_ns, now)

    def _check(self, model: StoredModel) -> StoredModel:
        """Reads the file; a sound one whose time had changed gets a fresh manifest."""
        fix = f"run: penstock models pull {model.name}"
        try:
            stat = model.path.stat()
            found = sha256_of(model.path)
        except OSError as error:
            raise ModelError(f"{model.path} cannot be read: {error.strerror or error}; {fix}") from error
        if found != model.manifest.sha256:
            sizes = f" ({stat.st_size} bytes instead of {model.manifest.size})"
            what = str(model.path) + (sizes if stat.st_size != model.manifest.size else "")
            raise damaged(what, model.manifest.sha256, found, fix)
        if stat.st_mtime_ns == model.manifest.mtime_ns:
            return model
        manifest = msgspec.structs.replace(model.manifest, mtime_ns=stat.st_mtime_ns)
        try:
            _write(model.path.parent / MANIFEST, manifest)
        except OSError:
            return model  # a read-only cache still serves; it only costs reading the file again next time
        return StoredModel(model.name, model.path, manifest)


def _untouched(model: StoredModel) -> bool:
    try:
        stat = model.path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (model.manifest.size, model.manifest.mtime_ns)


def _read(path: Path) -> Manifest | None:
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        return manifest if parse(manifest.reference).file_name == manifest.file else None
    except (OSError, msgspec.MsgspecError, ConfigError):
        return None


def _write(path: Path, manifest: Manifest) -> None:
    made = path.with_name(path.name + ".new")
    made.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    made.replace(path)
