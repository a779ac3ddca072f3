"""One section of a foreign document. What nobody takes out of it is reported when it is closed: nothing is dropped in
silence."""

import re
from typing import TypeVar

import msgspec

from penstock.config.rule import LARGEST
from penstock.config.section import YEAR

ENV = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
T = TypeVar("T")


class Note(msgspec.Struct, frozen=True):
    """What became of one field."""

    place: str
    """Where it stands, such as `model_list[0].litellm_params.tags`."""
    text: str
    imported: bool = False
    """It has a place in the config, but not quite the same meaning."""


class Part:
    """A mapping at a place. A value of the wrong type is noted and counts as absent."""

    def __init__(self, value: object, place: str, notes: list[Note]) -> None:
        self.place = place
        self.notes = notes
        self._value: dict[str, object] = value if isinstance(value, dict) else {}
        self._taken: set[str] = set()
        if value is not None and not isinstance(value, dict):
            self.skip("", "expected a section")

    def skip(self, name: str, text: str) -> None:
        """Notes that a field is not imported."""
        self.notes.append(Note(self._at(name), text))

    def changed(self, name: str, text: str) -> None:
        """Notes that a field means something a little different now."""
        self.notes.append(Note(self._at(name), text, imported=True))

    def text(self, name: str) -> str | None:
        """With LiteLLM's `os.environ/NAME` written as `${NAME}`, and a literal `${` kept literal."""
        value = self._take(name, str, "text")
        if value is None:
            return None
        found = ENV.fullmatch(value)
        return f"${{{found[1]}}}" if found else value.replace("${", "$${")

    def secret(self, name: str, variable: str, known: dict[str, str]) -> str | None:
        """A reference to the environment: a secret in the document stays there, and a variable has to hold it.

        `known` has the variables of other secrets; this one's is added, with a number where `variable` is taken.
        """
        value = self.text(name)
        if value is None or value.lower() in ("", "none", "empty"):
            return None
        if value.startswith("${"):
            return value
        while variable in known.values() and value not in known:
            stem, _, number = variable.rpartition("_")
            variable = f"{stem}_{int(number) + 1}" if number.isdigit() else f"{variable}_2"
        variable = known.setdefault(value, variable)
        self.changed(name, f"a secret in the file is not copied; export {variable} with it")
        return f"${{{variable}}}"

    def number(self, name: str) -> float | None:
        """Zero or more."""
        value = self._value.get(name)
        self._taken.add(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            self.skip(name, "expected a number")
            return None
        return value

    def seconds(self, name: str) -> float | None:
        """More than none, and at most a year."""
        value = self.number(name)
        if value is not None and not 0 < value <= YEAR:
            self.skip(name, "expected seconds, more than 0 and at most a year")
            return None
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        values = self._take(name, list, "a list") or []
        if not all(isinstance(value, str) for value in values):
            self.skip(name, "expected a list of texts")
            return []
        return values

    def part(self, name: str) -> "Part":
        """A section; empty when it is absent."""
        self._taken.add(name)
        return Part(self._value.get(name), self._at(name), self.notes)

    def parts(self, name: str) -> list["Part"]:
        """A list of sections."""
        values = self._take(name, list, "a list") or []
        return [Part(value, f"{self._at(name)}[{index}]", self.notes) for index, value in enumerate(values)]

    def names(self) -> list[str]:
        """All keys, for a section whose keys are names."""
        return list(self._value)

    def close(self, text: str = "not imported: Penstock has no such field") -> None:
        """Notes every field that was not taken."""
        for name in self._value:
            if name not in self._taken:
                self.skip(name, text)

    def _take(self, name: str, kind: type[T], noun: str) -> T | None:
        self._taken.add(name)
        value = self._value.get(name)
        if value is None:
            return None
        if not isinstance(value, kind):
            self.skip(name, f"expected {noun}")
            return None
        return value

    def _at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place and name else self.place or name
