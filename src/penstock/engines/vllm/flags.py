"""The flags of `vllm serve`: what a version knows, and how settings become a command line. Pure.

What is known comes from the text of `vllm serve --help=all`, the one description that every version gives.
"""

import difflib
import re

import msgspec

from penstock.core.errors import ConfigError
from penstock.engines.vllm.settings import Flag, VllmSettings

OWNED = {
    "model": "model",
    "model-tag": "model",
    "served-model-name": "served_name",
    "lora-modules": "adapters",
    "host": "",
    "port": "",
    "uds": "",
    "api-key": "",
    "root-path": "",
    "ssl-keyfile": "",
    "ssl-certfile": "",
    "ssl-ca-certs": "",
    "headless": "",
    "grpc": "",
    "help": "",
}
"""Flags that `flags` may not hold -> the setting to use instead, empty when there is none."""

# `  --flag METAVAR, -f METAVAR   what it is for`: argparse's own shape, two spaces in, help two spaces after.
_LINE = re.compile(r"^ {2}(-{1,2}[A-Za-z].*?)(?: {2,}.*)?$")
_SPELLING = re.compile(r", (?=-)")
_CHOICES = re.compile(r"\{([^{}]*)\}")


class Option(msgspec.Struct, frozen=True):
    """One flag of one version."""

    name: str
    """Long name without dashes."""
    values: str
    """`none`, `one` or `many`."""
    choices: tuple[str, ...] = ()
    """The values it takes, where there is a closed list of them."""
    negative: bool = False
    """Whether `--no-NAME` exists."""


def read_help(text: str) -> dict[str, Option]:
    """Every long spelling of every flag, without dashes -> the flag. Empty for a text that is no such help."""
    known: dict[str, Option] = {}
    for line in text.splitlines():
        if matched := _LINE.match(line):
            for spelling, option in _options(matched[1]):
                known[spelling] = option
    return known


def _options(head: str) -> list[tuple[str, Option]]:
    """(spelling, flag) for each long spelling in one line, negative ones left out."""
    parts = [part.partition(" ") for part in _SPELLING.split(head)]
    long = [(spelling[2:], metavar.strip()) for spelling, _, metavar in parts if spelling.startswith("--")]
    names = {name for name, _ in long}
    made = []
    for name, metavar in long:
        if name.startswith("no-") and name[3:] in names:
            continue
        made.append((name, Option(name, _values(metavar), _choices(metavar), f"no-{name}" in names)))
    return made


def _values(metavar: str) -> str:
    if not metavar:
        return "none"
    return "many" if metavar.endswith("...]") else "one"


def _choices(metavar: str) -> tuple[str, ...]:
    matched = _CHOICES.fullmatch(metavar)
    return tuple(matched[1].split(",")) if matched else ()


def command_line(settings: VllmSettings, port: int, known: dict[str, Option]) -> list[str]:
    """The arguments after `vllm`. Raises ConfigError, naming the flag."""
    flags = dict(settings.flags)
    words = ["serve", settings.model, "--served-model-name", settings.alias, "--host", "127.0.0.1", "--port", str(port)]
    if settings.adapters:
        words += ["--lora-modules", *(f"{name}={path}" for name, path in settings.adapters.items())]
        if not any(plain(name) == "enable-lora" for name in flags):
            flags["enable-lora"] = True
    for name, value in flags.items():
        words += _words(name, value, known)
    return words


def lora_enabled(settings: VllmSettings) -> bool:
    """Whether it starts with LoRA on."""
    return bool(settings.adapters) or any(
        plain(name) == "enable-lora" and value is True for name, value in settings.flags.items()
    )


def plain(name: str) -> str:
    """A flag's name as vLLM spells it: dashes up to the first dot, whatever the document wrote."""
    top, dot, rest = name.strip().lstrip("-").partition(".")
    return top.replace("_", "-") + dot + rest


def _words(written: str, value: Flag, known: dict[str, Option]) -> list[str]:
    name = plain(written)
    top = name.partition(".")[0]
    if top in OWNED:
        instead = f"; use `{OWNED[top]}`" if OWNED[top] else ""
        raise ConfigError(f"flags.{written}: Penstock sets this itself{instead}")
    option = _find(written, top, known)
    if option.values == "none":
        return _switch(written, name, value, option)
    if isinstance(value, bool) and not _named(str(value), option):
        raise ConfigError(f"flags.{written}: {_shown(value)} does not fit; write a value, not a switch")
    if not isinstance(value, list):
        return [f"--{name}={_checked(written, value, option)}"]
    texts = [_checked(written, item, option) for item in value]
    if option.values == "many":
        return [f"--{name}", *texts] if texts else []
    return [f"--{name}={text}" for text in texts]


def _find(written: str, top: str, known: dict[str, Option]) -> Option:
    if option := known.get(top):
        return option
    positive = known.get(top.removeprefix("no-"))
    if positive is not None and positive.negative:
        raise ConfigError(f"flags.{written}: write `{positive.name}: false` instead")
    near = difflib.get_close_matches(top, known, 3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    raise ConfigError(f"flags.{written}: the installed vLLM has no flag {'--' + top!r}{hint}")


def _switch(written: str, name: str, value: Flag, option: Option) -> list[str]:
    if not isinstance(value, bool):
        raise ConfigError(f"flags.{written}: {_shown(value)} does not fit; write true or false")
    if value:
        return [f"--{name}"]
    return [f"--no-{name}"] if option.negative else []


def _checked(written: str, value: str | int | float, option: Option) -> str:
    text = str(value)
    if option.choices and not _named(text, option):
        listed = ", ".join(option.choices)
        raise ConfigError(f"flags.{written}: {_shown(value)} does not fit; one of: {listed}")
    return text


def _named(text: str, option: Option) -> bool:
    return text in option.choices


def _shown(value: Flag) -> str:
    return repr(value).lower() if isinstance(value, bool) else repr(value)
