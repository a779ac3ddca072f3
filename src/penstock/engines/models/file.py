"""`file:` - a file that is already on this machine."""

from pathlib import Path

from penstock.core.errors import ModelError
from penstock.engines.models.progress import Progress
from penstock.engines.models.reference import Reference


class FileSource:
    """Links to the file, so that a model of many gigabytes is not kept twice."""

    def fetch(self, reference: Reference, into: Path, progress: Progress) -> None:
        path = Path(reference.location)
        try:
            with path.open("rb") as stream:
                if not stream.read(1):
                    raise ModelError(f"{path} is empty; name the model file itself")
            link = into.with_name(into.name + ".link")
            link.unlink(missing_ok=True)
            link.symlink_to(path)
            link.replace(into)
        except OSError as error:
            why = error.strerror or error
            raise ModelError(f"cannot read {path}: {why}; check the path of the reference") from error
        progress.message(f"using {path} where it is")
