"""`penstock audit` over a log of three days."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.state.audit.world import key_file, write_log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_log(tmp_path / "audit")
    return tmp_path / "audit"


def alter(folder: Path) -> None:
    path = min(folder.glob("worker-0.*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"req-1", b"req-7", 1))


def test_a_whole_log(run: Run, folder: Path) -> None:
    ran = run("audit", "verify", str(folder))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1].startswith("the log is whole: ")
    found = json.loads(run("audit", "verify", str(folder), "--json").out)
    assert (found["ok"], found["chains"], found["findings"]) == (True, 3, [])


def test_a_finding_names_file_line_and_what_is_wrong(run: Run, folder: Path) -> None:
    alter(folder)
    ran = run("audit", "verify", str(folder))
    assert ran.code == 1
    assert ran.err == "penstock: worker-0.2023-11-14.jsonl:4: altered: the bytes do not fit the hash of the line\n"
    ran = run("audit", "verify", str(folder), "--json")
    assert ran.code == 1
    (finding,) = json.loads(ran.out)["findings"]
    assert (finding["file"], finding["line"], finding["wrong"]) == ("worker-0.2023-11-14.jsonl", 4, "altered")


def test_an_anchor_kept_elsewhere(run: Run, folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(run("audit", "anchor", str(folder), "--json").out)
    shown = run("audit", "anchor", str(folder)).out.strip()
    assert json.loads(kept.read_text())["hash"] == shown
    for anchor in (str(kept), shown):
        assert run("audit", "verify", str(folder), "--anchor", anchor).code == 0
    shutil.rmtree(folder)
    folder.mkdir()
    assert run("audit", "verify", str(folder)).code == 0
    ran = run("audit", "verify", str(folder), "--anchor", str(kept))
    assert ran.code == 1
    assert ran.err.count("the chain is gone") == 4
    assert "the log was cut or replaced" in run("audit", "verify", str(folder), "--anchor", shown).refusal


def test_a_new_anchor(run: Run, folder: Path) -> None:
    before = run("audit", "anchor", str(folder)).out
    assert run("audit", "anchor", str(folder), "--new").out != before
    assert run("audit", "verify", str(folder)).code == 0


def test_a_key_and_none(run: Run, tmp_path: Path) -> None:
    secret = key_file(tmp_path)
    write_log(tmp_path / "signed", secret)
    assert "no key was given" in run("audit", "verify", str(tmp_path / "signed")).out
    assert "note" not in run("audit", "verify", str(tmp_path / "signed"), "--key", secret).out
    ran = run("audit", "verify", str(tmp_path / "signed"), "--key", key_file(tmp_path, "other"))
    assert ran.code == 1
    assert "forged: it is signed with another key" in ran.err


def test_archived_days(run: Run, folder: Path) -> None:
    for path in folder.glob("*.2023-11-14.jsonl"):
        path.unlink()
    assert run("audit", "verify", str(folder)).code == 1
    assert run("audit", "verify", str(folder), "--since", "2023-11-15").code == 0


def test_show_filters(run: Run, folder: Path) -> None:
    admin = run("audit", "show", str(folder), "--kind", "admin").out.splitlines()
    assert len(admin) == 3
    assert "admin  " in admin[0]
    assert '{"id":"k_0","team":"search"}' in admin[0]
    assert admin[0].startswith("2023-11-14 22:13:20.")
    by_acme = run("audit", "show", str(folder), "--actor", "acme/", "--json").out.splitlines()
    assert len(by_acme) == 12
    assert all(json.loads(line)["actor"].startswith("acme/") for line in by_acme)
    assert len(run("audit", "show", str(folder), "--what", "POST").out.splitlines()) == 18
    assert len(run("audit", "show", str(folder), "--what", "POST", "--since", "2023-11-15").out.splitlines()) == 12
    assert len(run("audit", "show", str(folder), "--what", "POST", "--until", "2023-11-15T00:00").out.splitlines()) == 6
    assert "anchor" in run("audit", "show", str(folder), "--last", "1", "--kind", "anchor").out
    whole = [json.loads(line)["time"] for line in run("audit", "show", str(folder), "--json").out.splitlines()]
    assert whole == sorted(whole)


def test_export(run: Run, folder: Path) -> None:
    found = json.loads(run("audit", "export", str(folder)).out)
    assert found["ok"]
    assert len(found["lines"]) == found["report"]["lines"]
    assert len(found["anchors"]) == found["report"]["anchors"]
    lines = (folder / "worker-0.2023-11-14.jsonl").read_text().splitlines()
    assert [row["line"] for row in found["lines"] if row["file"] == "worker-0.2023-11-14.jsonl"] == lines
    alter(folder)
    ran = run("audit", "export", str(folder))
    assert ran.code == 1
    assert not json.loads(ran.out)["ok"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("verify", "nowhere"), "nowhere"),
        (("verify",), "FOLDER"),
        (("verify", "audit", "--since", "soon"), "--since: 'soon' is no date or time"),
        (("verify", "audit", "--anchor", "none"), "cannot read 'none'"),
        (("anchor", "."), "has no anchor yet"),
    ],
)
def test_bad_input_is_one_line(run: Run, folder: Path, arguments: tuple[str, ...], part: str) -> None:
    assert part in run("audit", *arguments).refusal
