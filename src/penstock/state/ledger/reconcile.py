"""The ledger against what engines say: their token counters, or a line of theirs for each request."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.record import Usage
from penstock.state.ledger.charge import Charge, unknown, untold
from penstock.wire.dialects.read import read_load


class Counters(msgspec.Struct, frozen=True):
    """Tokens an engine has counted since it started."""

    input: int
    output: int


class Line(msgspec.Struct, frozen=True):
    """One line of an engine's log. Further fields are passed over."""

    request_id: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.reasoning_tokens)


class Difference(msgspec.Struct, frozen=True):
    """Tokens by the ledger and by the engine."""

    model: str
    """Empty: every model."""
    kind: str
    """`input` or `output`."""
    ledger: int
    engine: int

    @property
    def share(self) -> float:
        """The difference as a share of what the engine says."""
        if self.ledger == self.engine:
            return 0.0
        return abs(self.ledger - self.engine) / self.engine if self.engine else float("inf")


class Compared(msgspec.Struct):
    """Charges against an engine's log."""

    sums: list[Difference] = []
    """Per model."""
    settles: list[tuple[Charge, Usage]] = []
    """Requests whose tokens no engine had told, and that the log settles. Interrupted ones are in no sum yet."""
    differing: list[str] = []
    """Request ids whose tokens differ."""
    unbilled: list[str] = []
    """In the log, and in no charge."""
    unreported: list[str] = []
    """Charged with tokens, and not in the log."""
    unsettled: int = 0
    """Interrupted requests that the log does not settle: it has no line of them, or they share their id."""


def counters_of(text: bytes, source: str) -> Counters:
    """The token counters in an engine's metrics text. Raises ConfigError when it has none."""
    load = read_load(text, 0.0)
    if load.prompt_tokens is None or load.generation_tokens is None:
        raise ConfigError(f"{source}: no counters of prompt and generated tokens; give the metrics of a known engine")
    return Counters(round(load.prompt_tokens), round(load.generation_tokens))


def between(before: Counters, after: Counters) -> Counters:
    """What an engine counted between two readings. Raises ConfigError when it was started anew in between."""
    if after.input < before.input or after.output < before.output:
        raise ConfigError("the engine's counters fell: it restarted between the readings; compare since its start")
    return Counters(after.input - before.input, after.output - before.output)


def against_counters(charges: Iterable[Charge], counted: Counters) -> list[Difference]:
    """One engine's charges against its counters."""
    given = made = 0
    for charge in charges:
        given += charge.input
        made += charge.output
    return [Difference("", "input", given, counted.input), Difference("", "output", made, counted.output)]


def lines_of(text: bytes, source: str) -> Iterator[Line]:
    """The lines of an engine's log. Raises ConfigError that names the line that is none."""
    decoder = msgspec.json.Decoder(Line)
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise ConfigError(
                    f"{source}: line {number}: {error}; "
                    'write {"request_id": "...", "prompt_tokens": 1, "completion_tokens": 1}'
                ) from None


def against_log(charges: Iterable[Charge], lines: Iterable[Line]) -> Compared:
    """Charges against an engine's log. Requests that share an id are compared by their sums."""
    logged: dict[str, list[Line]] = {}
    for line in lines:
        logged.setdefault(line.request_id, []).append(line)
    charged: dict[str, list[Charge]] = {}
    for charge in charges:
        charged.setdefault(charge.request_id, []).append(charge)
    found = Compared(unbilled=[name for name in logged if name not in charged])
    sums: dict[str, list[int]] = {}
    for name, own in charged.items():
        _compare(name, own, logged.get(name, []), found, sums)
    for name in found.unbilled:
        _add(sums, "", logged[name], 2)
    found.sums = [
        Difference(model, kind, values[at], values[at + 2])
        for model, values in sorted(sums.items())
        for at, kind in ((0, "input"), (1, "output"))
    ]
    return found


def _compare(name: str, own: list[Charge], lines: list[Line], found: Compared, sums: dict[str, list[int]]) -> None:
    """One request id's charges and lines."""
    settles = _settles(own, lines)
    if settles:
        found.settles.append((own[0], lines[0].usage))
        if unknown(own[0]):
            return
    found.unsettled += sum(map(unknown, own))
    total = sums.setdefault(own[0].model, [0, 0, 0, 0])
    given, made = sum(charge.input for charge in own), sum(charge.output for charge in own)
    total[0] += given
    total[1] += made
    _add(sums, own[0].model, lines, 2)
    if not lines:
        if given or made:
            found.unreported.append(name)
    elif not settles and (given, made) != _counted(lines):
        found.differing.append(name)


def _counted(lines: list[Line]) -> tuple[int, int]:
    """Input and output tokens by the log."""
    return sum(line.prompt_tokens for line in lines), sum(line.completion_tokens for line in lines)


def _settles(own: list[Charge], lines: list[Line]) -> bool:
    """Whether the log says of a request what its engine had not told."""
    if not len(own) == len(lines) == 1 or not untold(own[0]):
        return False
    charge, line = own[0], lines[0]
    return unknown(charge) or line.usage != Usage(charge.input, charge.output, charge.cached, charge.reasoning)


def _add(sums: dict[str, list[int]], model: str, lines: Iterable[Line], at: int) -> None:
    total = sums.setdefault(model, [0, 0, 0, 0])
    for line in lines:
        total[at] += line.prompt_tokens
        total[at + 1] += line.completion_tokens


def worst(differences: Iterable[Difference]) -> float:
    """The largest difference, as a share."""
    return max((difference.share for difference in differences), default=0.0)


def as_row(difference: Difference) -> Mapping[str, str | int | float]:
    """For people and programs."""
    share = difference.share
    return {**msgspec.structs.asdict(difference), "difference": difference.ledger - difference.engine, "share": share}
