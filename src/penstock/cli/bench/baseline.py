"""`penstock bench baseline`: sets of runs that are kept for ever."""

from pathlib import Path
from typing import Any

import click

from penstock.bench.contract.baseline import appended, check, lines, packed, unpacked
from penstock.bench.contract.contract import Contract, RunSet
from penstock.cli.bench import options
from penstock.cli.bench.measure import measure, write_new
from penstock.cli.bench.show import all_valid, show
from penstock.core.errors import ConfigError

FOLDER = Path("results/baselines")
INDEX = "index.jsonl"


@click.command("baseline")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path, exists=True), required=True, help="The contract.")
@options.server_options
@click.option("--runs", type=click.IntRange(2, 1000), help="Repetitions.  [default: the contract's]")
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Of the baselines.")
def command(path: Path, runs: int | None, folder: Path, **given: Any) -> None:
    """Run a contract and keep the result for ever.

    It is added to the folder of the contract's name and to an index that chains them by SHA-256: none is overwritten,
    and one that was changed is found. A run that is not valid is not kept, and another is sent instead, once.
    """
    contract = options.contract_of(path)
    place = folder / contract.name
    known = _read(place)  # before the work: a broken index is no place for more
    found = _measured(contract, given, runs or contract.runs)
    if found.stopped:
        click.echo("nothing was kept", err=True)
        raise click.Abort
    show(found.runs[-1], contract)
    if not all_valid(found.runs):
        raise ConfigError("the client did not keep up in every run; nothing was kept")
    place.mkdir(parents=True, exist_ok=True)
    data = packed(found)
    name, line = appended(known, found.made[:10], data)
    write_new(place / name, data)
    with (place / INDEX).open("ab") as index:
        index.write(line)
    click.echo(f"kept as {place / name}; commit it with {place / INDEX}")


def _measured(contract: Contract, given: dict[str, Any], runs: int) -> RunSet:
    """So many runs. Those that were not valid have been replaced once; what is left of them says so."""
    (found,) = measure(contract, [given["url"]], given, runs=runs, quiet=False)
    late = [run for run in found.runs if run.invalid]
    if not found.stopped and late and len(late) < runs:
        click.echo(f"{len(late)} of {runs} runs are not valid and are sent again: {late[-1].invalid}")
        (more,) = measure(contract, [given["url"]], given, runs=len(late), quiet=False, first=runs)
        found.runs = [run for run in found.runs if not run.invalid] + more.runs
        found.stopped = more.stopped
    return found


def load(name: str, folder: Path) -> RunSet:
    """The set in a file, or the baseline `NAME` (the latest) or `NAME@NUMBER`. Raises ConfigError or Broken."""
    path = Path(name)
    if path.is_file():
        return unpacked(path.read_bytes())
    contract, _, number = name.partition("@")
    place = folder / contract
    known = lines(_read(place))
    if not known:
        raise ConfigError(f"{name!r:.80} is neither a file nor a baseline in {folder}")
    if number and (not number.isdigit() or not 0 < int(number) <= len(known)):
        raise ConfigError(f"{contract} has baselines 1 to {len(known)}; there is no {number!r:.20}")
    return unpacked((place / known[int(number or len(known)) - 1].file).read_bytes())


def _read(place: Path) -> bytes:
    """The index of a contract's baselines, checked against its files. Raises Broken."""
    index = place / INDEX
    known = index.read_bytes() if index.is_file() else b""
    check(lines(known), {file.name: file.read_bytes() for file in place.glob("*.json.gz")})
    return known
