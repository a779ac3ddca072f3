"""`penstock cost`: what people and programs read of the ledger."""

import csv
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.policy.price.document import book_of
from penstock.state.ledger.entries import Opened
from penstock.state.ledger.journal import Journal, journal_folder
from penstock.state.ledger.shipper import Shipper
from penstock.state.ledger.store import Span
from penstock.state.ledger.stores import open_store, store_of
from tests.cli.conftest import Run
from tests.state.ledger.entries import closed

PRICES = """
models:
  - {model: m, input: 2, cached: 1, output: 5, reasoning: 7}
"""
COST = "0.000055"
"""Of input 10, cached 4, output 7, reasoning 2: 12 + 4 + 25 + 14 millionths."""
METRICS = """vllm:prompt_tokens_total{engine="0"} %d
vllm:generation_tokens_total{engine="0"} %d
"""


@pytest.fixture
def ledger(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose ledger holds three requests, one without a price, and an interrupted one."""
    book = book_of({"models": [{"model": "m", "input": 2, "cached": 1, "output": 5, "reasoning": 7}]})
    journal = Journal(journal_folder(tmp_path))
    for entry in (closed(1), closed(2), closed(3, model="free")):
        journal.closed(entry)
    journal.opened(Opened(4, "req-4", 1_700_100_000.0, "acme", "search", "k1", "m", "e0"))
    journal.close()
    shipper = Shipper(tmp_path, lambda: store_of("", tmp_path), lambda: book)
    while shipper.step():
        pass
    shipper.close()
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    monkeypatch.delenv("PENSTOCK_LEDGER", raising=False)
    (tmp_path / "prices.yaml").write_text(PRICES)
    return tmp_path


def test_totals_for_people(run: Run, ledger: Path) -> None:
    out = run("cost", "--by", "tenant", "--by", "model").out
    header, *lines = [line.split() for line in out.splitlines()]
    assert header == [
        "org",
        "team",
        "key",
        "model",
        "requests",
        "input",
        "cached",
        "output",
        "reasoning",
        "cost",
        "notes",
    ]
    assert ["acme", "search", "k1", "free", "1", "10", "4", "7", "2", "0", "USD", "1", "unpriced"] in lines
    assert ["acme", "search", "k1", "m", "3", "20", "8", "14", "4", "0.00011", "USD", "1", "unknown"] in lines


def test_totals_for_programs(run: Run, ledger: Path) -> None:
    (total,) = json.loads(run("cost", "--json").out)
    assert total == {
        "currency": "USD", "requests": 4, "input": 30, "cached": 12, "output": 21, "reasoning": 6,
        "unpriced": 1, "unknown": 1, "counted": 0, "cost": "0.00011",
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(run("cost", "--csv", "--by", "day").out)))
    assert [(row["day"], row["cost"]) for row in rows] == [("2023-11-14", "0.00011"), ("2023-11-16", "0")]
    assert run("cost", "--json", "--csv").refusal


def test_time_is_cut_out(run: Run, ledger: Path) -> None:
    since = json.loads(run("cost", "--json", "--since", "2023-11-15").out)
    assert [row["requests"] for row in since] == [1]
    until = json.loads(run("cost", "--json", "--until", "2023-11-14T22:13:22Z").out)
    assert [row["requests"] for row in until] == [1]
    assert json.loads(run("cost", "--json", "--since", "7d").out) == []
    assert "no request is in the ledger" in run("cost", "--since", "12h").err
    assert "--since: 'soon' is no time; write 2026-07-01" in run("cost", "--since", "soon").refusal
    assert "is not before" in run("cost", "--since", "2026-01-02", "--until", "2026-01-01").refusal


def test_a_ledger_that_is_not_there_is_not_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path / "none"))
    assert "there is no ledger at" in run("cost").refusal
    assert not (tmp_path / "none").exists()
    assert "there is no ledger at" in run("cost", "--store", f"sqlite:{tmp_path}/x.sqlite").refusal
    assert "known: postgres, postgresql, sqlite" in run("cost", "--store", "mysql://x").refusal


def test_a_store_is_chosen_by_url(run: Run, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DATA", "/nowhere")
    url = f"sqlite:{ledger}/ledger/ledger.sqlite"
    assert json.loads(run("cost", "--json", "--store", url).out)[0]["requests"] == 4
    monkeypatch.setenv("PENSTOCK_LEDGER", url)
    assert json.loads(run("cost", "--json").out)[0]["requests"] == 4


def test_export_writes_a_whole_file_or_none(run: Run, ledger: Path) -> None:
    target = ledger / "focus.csv"
    ran = run("cost", "export", "--focus", str(target), "--provider", "Acme ML")
    assert ran.code == 0
    assert "8 rows, FOCUS 1.4" in ran.err
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert len(rows) == 8
    assert {row["ServiceProviderName"] for row in rows} == {"Acme ML"}
    assert run("cost", "export", "--focus", "-", "--version", "1.2").out.startswith("BilledCost,")
    assert "cannot write" in run("cost", "export", "--focus", str(ledger / "no" / "x.csv")).refusal


def engine_log(folder: Path, *lines: tuple[str, int, int]) -> str:
    path = folder / "engine.log"
    names = ("request_id", "prompt_tokens", "completion_tokens")
    path.write_text("\n".join(json.dumps(dict(zip(names, line, strict=True))) for line in lines))
    return str(path)


def test_reconcile_settles_what_was_interrupted(run: Run, ledger: Path) -> None:
    log = engine_log(ledger, ("req-1", 10, 7), ("req-2", 10, 7), ("req-3", 10, 7), ("req-4", 100, 50))
    arguments = ("cost", "reconcile", "--engine", "e0", "--log", log)
    ran = run(*arguments)
    assert ran.code == 1
    assert "1 requests whose engine told no usage, and which --settle would settle" in ran.out
    assert run(*arguments, "--settle", "--prices", str(ledger / "prices.yaml")).code == 0
    assert run(*arguments).code == 0, "and then everything agrees"
    store = open_store("", ledger)
    found = {charge.request_id: charge for charge in store.charges(Span())}
    store.close()
    charge = found["req-4"]
    assert (charge.outcome, charge.source, charge.input, charge.output) == ("interrupted", "reconciled", 100, 50)
    assert charge.cost == 100 * 2_000 + 50 * 5_000


def test_reconcile_settles_what_a_client_left_behind(run: Run, ledger: Path) -> None:
    """The gateway counted three events; the engine made five tokens before it heard that the client had left."""
    journal = Journal(journal_folder(ledger))
    left = msgspec.structs.replace(closed(9, tokens=(20, 0, 3, 0)), outcome="client_left", source="counted")
    journal.closed(left)
    journal.close()
    shipper = Shipper(ledger, lambda: store_of("", ledger), lambda: book_of({}))
    shipper.step()
    shipper.close()
    lines = [(f"req-{number}", 10, 7) for number in (1, 2, 3)]
    log = engine_log(ledger, *lines, ("req-4", 100, 50), ("req-9", 25, 5))
    arguments = ("cost", "reconcile", "--engine", "e0", "--log", log)
    before = json.loads(run(*arguments, "--json").out)["log"]
    assert (before["to_settle"], before["differing"]) == (2, [])
    assert [row["difference"] for row in before["sums"] if row["model"] == "m"] == [-5, -2]
    ran = run(*arguments, "--settle", "--prices", str(ledger / "prices.yaml"), "--json")
    after = json.loads(ran.out)["log"]
    assert (ran.code, after["settled"], after["to_settle"]) == (0, 2, 0)
    assert not any(row["difference"] for row in after["sums"])


def test_reconcile_finds_what_differs(run: Run, ledger: Path) -> None:
    log = engine_log(ledger, ("req-1", 10, 7), ("req-2", 10, 9), ("req-8", 1, 1), ("req-4", 0, 0))
    ran = run("cost", "reconcile", "--engine", "e0", "--log", log, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)["log"]
    assert (found["differing"], found["unbilled"], found["unreported"]) == (["req-2"], ["req-8"], ["req-3"])
    assert "at most 0.00% is allowed" in ran.err
    shown = run("cost", "reconcile", "--engine", "e0", "--log", log).out
    assert "1 requests differ: req-2" in shown


@pytest.fixture
def metrics() -> Iterator[str]:
    """An engine that has counted 30 input and 23 output tokens: two more than the ledger."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((METRICS % (30, 23)).encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def test_reconcile_with_counters(run: Run, ledger: Path, metrics: str) -> None:
    arguments = ("cost", "reconcile", "--engine", "e0", "--metrics", metrics)
    ran = run(*arguments, "--json")
    assert ran.code == 1
    given, made = json.loads(ran.out)["metrics"]
    assert (given["ledger"], given["engine"], given["difference"]) == (30, 30, 0)
    assert (made["ledger"], made["engine"], made["difference"]) == (21, 23, -2)
    assert run(*arguments, "--tolerance", "0.1").code == 0
    before = ledger / "before.txt"
    before.write_text(METRICS % (0, 2))
    assert run(*arguments, "--before", str(before)).code == 0, "what was counted since the first reading agrees"
    before.write_text(METRICS % (99, 0))
    assert "restarted between the readings" in run(*arguments, "--before", str(before)).refusal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--metrics, --log: give one of them"),
        (("--metrics", "x", "--settle"), "--settle: it needs --log"),
        (("--metrics", "nowhere.txt"), "--metrics: cannot read nowhere.txt"),
        (("--metrics", "http://127.0.0.1:1/metrics"), "--metrics: cannot read http://127.0.0.1:1"),
        (("--log", "prices.yaml"), "--log prices.yaml: line 2: "),
    ],
)
def test_reconcile_refuses_what_it_cannot_use(run: Run, ledger: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in run("cost", "reconcile", "--engine", "e0", *arguments).refusal


def test_the_config_that_is_named_says_where_the_ledger_is(
    run: Run, ledger: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path_factory.mktemp("none")))
    assert "there is no ledger" in run("cost").refusal
    (ledger / "elsewhere.yaml").write_text(f"state: {{folder: {ledger}}}\n")
    assert json.loads(run("cost", "-c", str(ledger / "elsewhere.yaml"), "--json").out)[0]["requests"] == 4
