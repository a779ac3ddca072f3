"""Secrets in text: what they look like, and taking them out before anything is written. Pure.

Every rule of its own has bounded repeats and no nested ones, so a text of n characters costs n steps times a constant,
whatever an attacker writes. Matching is by form: a name or an address in prose is not found.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.registry import Registry

PASSES = 4
"""Taking out one secret may leave another; what still has one after as many passes goes whole."""
DEPTH = 64
"""Levels of JSON that are looked into; what lies deeper goes whole."""

Find = Callable[[str], Iterable[tuple[int, int]]]
"""Text -> (begin, end) of each secret, in order, without overlaps."""


class Rule(msgspec.Struct, frozen=True):
    """How one kind of secret is found."""

    find: Find
    hints: tuple[str, ...] = ()
    """A text that holds none of them, in lower case, has no such secret: most texts cost a search for these alone."""

    def __call__(self, text: str, lower: str) -> Iterable[tuple[int, int]]:
        if not self.hints:
            return self.find(text)
        for hint in self.hints:
            if hint in lower:
                return self.find(text)
        return ()


EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,256}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}", re.ASCII
)
BEARER = re.compile(r"\b(?:bearer|basic)[ \t]{1,4}[A-Za-z0-9._~+/=-]{8,4096}", re.IGNORECASE | re.ASCII)
API_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk|psk|pst)[-_][A-Za-z0-9_-]{16,256}"  # OpenAI, Anthropic, Stripe, LiteLLM, Penstock
    r"|gh[oprsu]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{20,255}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|hf_[A-Za-z0-9]{20,255}|AIza[A-Za-z0-9_-]{35}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{16,512}"
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}"  # JSON Web Token, RFC 7519
    r"|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:[^-]{0,8192}-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
    r")",
    re.ASCII,
)
ASSIGNED = re.compile(
    r"(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|passwd|pwd)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?"
    r"([^\s\"',;&\[\]]{6,4096})",
    re.IGNORECASE | re.ASCII,
)
PHONE = re.compile(
    # The first character comes before the look behind it: only texts with such a character cost more than a scan.
    r"(?:\+(?<![\w+.]\+)[0-9](?:[ ().-]{0,2}[0-9]){7,14}"  # E.164: at most 15 digits
    r"|[(0-9](?<![\w+.][(0-9])(?:"
    r"(?<=\()[0-9]{3}\)[ .-]{0,2}[0-9]{3}[ .-][0-9]{4}|(?<=[0-9])[0-9]{2}[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}"  # N. America
    r"|(?<=0)[0-9]{1,4}[ /-]{1,2}[0-9]{3,4}(?:[ -]?[0-9]{2,4}){1,3}"  # with a trunk zero
    r"))(?!\w)",
    re.ASCII,
)
DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){12,}", re.ASCII)
GROUP = re.compile(r"[0-9]+", re.ASCII)
CARD_DIGITS = range(13, 20)
"""ISO/IEC 7812-1."""
CARD_BEGINS = "23456"
"""First digits of payment cards. A time in milliseconds begins with 1."""
NAMES = re.compile(
    r"(?:.{0,32}[_-])?(?:api[_-]?key|access[_-]?key|authorization|secret|token|password|passwd)", re.IGNORECASE
)
"""Names in JSON whose value is a secret whatever it looks like."""


class Redactor:
    """`text` and `value` without the secrets that `kinds` and `patterns` describe. Raises ConfigError for a bad one."""

    def __init__(self, kinds: Iterable[str], patterns: Mapping[str, str]) -> None:
        self._rules = [(kind, RULES[kind]) for kind in dict.fromkeys(kinds)]
        marks = " ".join(f"[redacted:{kind}]" for kind in (*RULES, *patterns))
        self._rules += [(name, Rule(_custom(name, pattern, marks))) for name, pattern in patterns.items()]
        self._names = any(kind == "assigned" for kind, _ in self._rules)

    def text(self, text: str) -> str:
        """Each secret becomes `[redacted:KIND]`. Nothing is found in the result, so doing it again changes nothing."""
        for _ in range(PASSES):
            before = text
            for kind, rule in self._rules:
                text = _without(text, rule(text, text.lower()), f"[redacted:{kind}]")
            if text == before:
                return text
        return "[redacted]" if self.secrets(text) else text

    def secrets(self, text: str) -> list[tuple[str, str]]:
        """(kind, secret) of everything that is found."""
        lower = text.lower()
        return [(kind, text[begin:end]) for kind, rule in self._rules for begin, end in rule(text, lower)]

    def value(self, value: object, depth: int = 0) -> object:
        """A JSON document with its texts redacted: values, names, and numbers that are secrets."""
        if depth > DEPTH:
            return "[redacted: too deep]"
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(name)): self._named(name, inner, depth) for name, inner in value.items()}
            case list():
                return [self.value(inner, depth + 1) for inner in value]
            case bool():
                return value
            case int() | float():
                shown = msgspec.json.encode(value).decode()
                return self.text(shown) if self.secrets(shown) else value
        return value

    def _named(self, name: object, value: object, depth: int) -> object:
        if self._names and isinstance(value, str) and value and NAMES.fullmatch(str(name)):
            return "[redacted:assigned]"
        return self.value(value, depth + 1)


def _without(text: str, found: Iterable[tuple[int, int]], mark: str) -> str:
    parts, at = [], 0
    for begin, end in found:
        parts += [text[at:begin], mark]
        at = end
    return "".join([*parts, text[at:]]) if at else text


def _matches(pattern: re.Pattern[str]) -> Find:
    """What the first group holds, where there is one; else the whole match."""

    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            group = 1 if pattern.groups and match[1] else 0
            if match[group]:
                yield match.span(group)

    return find


def _custom(name: str, pattern: str, marks: str) -> Find:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"audit.patterns.{name}: {pattern!r} is no regular expression: {error}") from None
    if compiled.search("") or compiled.search(marks):
        raise ConfigError(
            f"audit.patterns.{name}: {pattern!r} finds something in the empty text or in {marks!r}; make it stricter"
        )
    return _matches(compiled)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Numbers in groups: any groups in a row that together are a card, whatever stands before and behind them."""
    for run in DIGITS.finditer(text):
        groups = [match.span() for match in GROUP.finditer(text, run.start(), run.end())]
        first = 0
        while first < len(groups):
            last = _card_at(text, groups, first)
            if last is None:
                first += 1
            else:
                yield groups[first][0], groups[last][1]
                first = last + 1


def _card_at(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """The last group of the longest card that begins with group `first`."""
    digits, found = "", None
    if text[groups[first][0]] not in CARD_BEGINS:
        return None
    for index in range(first, len(groups)):
        begin, end = groups[index]
        if len(digits) + end - begin >= CARD_DIGITS.stop:
            break
        digits += text[begin:end]
        if len(digits) in CARD_DIGITS and luhn(digits):
            found = index
    return found


def luhn(digits: str) -> bool:
    """Whether the check digit fits (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0


RULES: Registry[Rule] = Registry(
    "secret",
    {
        "bearer": Rule(_matches(BEARER), ("bearer", "basic")),
        "api_key": Rule(
            _matches(API_KEY),
            ("sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "pst-", "pst_", "gho_", "ghp_", "ghr_", "ghs_", "ghu_",
             "github_pat_", "glpat-", "xox", "hf_", "aiza", "akia", "asia", "npm_", "pypi-", "eyj", "-----begin "),
        ),
        "assigned": Rule(_matches(ASSIGNED), ("key", "secret", "token", "passw", "pwd")),
        "email": Rule(_matches(EMAIL), ("@",)),
        "card": Rule(_cards),
        "phone": Rule(_matches(PHONE)),
    },
)  # fmt: skip
