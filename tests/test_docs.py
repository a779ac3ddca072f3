"""The documents say what the program is: nothing is missing, nothing generated is stale, every link leads somewhere."""

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
import pytest
import yaml

from benchmarks.gateway import report
from penstock.cli import banner
from penstock.cli.app import cli
from penstock.config.explain import fields
from penstock.core import errors
from penstock.core.endpoint import EngineState
from penstock.core.record import Outcome, TokenSource
from penstock.engines.models.known import DEFAULT, KNOWN
from penstock.engines.models.sources import sources
from penstock.gateway import waiting
from penstock.gateway.admin import relay
from penstock.gateway.admin.assets import Console
from penstock.gateway.admin.routes import Reads
from penstock.gateway.admin.state import AdminState
from penstock.gateway.admin.timeline import Timeline
from penstock.gateway.admin.uses import Uses
from penstock.gateway.picker import desk
from penstock.telemetry.catalogue import PLATFORM, SHEETS
from penstock.telemetry.meter import ROUTES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "penstock"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "changes").glob("README.md")])
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- everything that exists is described ------------------------------------------------------------------------------


def test_every_metric_is_in_the_table_of_metrics() -> None:
    for sheet in (*SHEETS, *PLATFORM):
        for metric in sheet.metrics:
            assert f"| `{generator().exported(metric)}` | {metric.kind} |" in text("docs/metrics.md")
        for label in sheet.labels:
            assert f"`{label}`" in text("docs/metrics.md")


def test_every_config_field_is_in_the_configuration_reference() -> None:
    keys = set(re.findall(r"^\| `([^`]+)` \|", text("docs/configuration.md"), re.MULTILINE))
    plain = {re.sub(r"\.N\b", "", key) for key in keys}
    assert not {re.sub(r"\.\d+\b", "", path) for path, _, _ in fields()} - plain


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")


def test_every_command_and_flag_is_in_the_command_reference() -> None:
    section = re.compile(r"^## (penstock[^\n]*)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    sections = dict(section.findall(text("docs/cli.md")))
    for path, command in commands(cli, "penstock"):
        flags = chain.from_iterable([*p.opts, *p.secondary_opts] for p in command.params if isinstance(p, click.Option))
        for flag in flags:
            assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", sections[path]), f"{path} {flag}"


def subclasses(kind: type[errors.RequestError]) -> Iterator[type[errors.RequestError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from subclasses(inner)


def codes() -> set[tuple[str, int]]:
    """(code, status) of every error class, and of every `code=` that src gives to one."""
    ours = (kind for kind in subclasses(errors.RequestError) if kind.__module__.startswith("penstock."))
    classes = {kind.__name__: kind for kind in ours}
    found = {(kind.code, kind.status) for kind in classes.values()}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                kind = errors.Overloaded if node.func.id == "overloaded" else classes.get(node.func.id)
                given = [*(keyword.value for keyword in node.keywords if keyword.arg == "code"), *node.args[1:]]
                named = [part.value for value in given for part in ast.walk(value) if isinstance(part, ast.Constant)]
                found |= {(code, kind.status) for code in named if kind is not None and isinstance(code, str)}
    found |= {(code, errors.Overloaded.status) for code in waiting.CODES.values()}
    return found | {(desk.Overloaded.code, desk.Overloaded.status)}


def test_the_table_of_errors_is_the_set_of_errors() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text("docs/errors.md"), re.MULTILINE)
    assert {(code, int(status)) for code, status in rows} == codes()
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_explained(outcome: Outcome) -> None:
    assert f"| `{outcome}` |" in text("docs/errors.md")


def test_every_endpoint_is_in_the_api() -> None:
    reads = Reads(cast(AdminState, None), Timeline())
    uses = Uses(cast(AdminState, None))
    admin = [route.path for route in (*reads.routes(), *uses.routes(), *Console().routes())]
    for path in (*ROUTES.values(), *admin, relay.PATH):
        assert re.search(rf"`[^`]*{re.escape(path)}`", text("docs/api.md")), path


def test_every_token_source_engine_state_and_model_source_is_explained() -> None:
    for source in TokenSource:
        assert f"- `{source}`:" in text("docs/measures.md")
    for state in EngineState:
        assert f"`{state}`" in text("docs/engines.md")
    for source_name in sources({}):
        assert f"| `{source_name}:" in text("docs/models.md")
    for model in KNOWN:
        assert f"| `{model}` |" in text("docs/models.md")


def requirement_names(requirements: list[Any]) -> list[str]:
    return [re.split(r"[\s<>=!~;\[]", each, maxsplit=1)[0] for each in requirements if isinstance(each, str)]


def test_every_direct_dependency_is_justified_and_no_other() -> None:
    document = tomllib.loads(text("pyproject.toml"))
    groups = [
        document["project"]["dependencies"],
        *document["project"]["optional-dependencies"].values(),
        *document["dependency-groups"].values(),
    ]
    declared = {name for group in groups for name in requirement_names(group)}
    first_cells = re.findall(r"^\| (`[^|]+)\|", text("docs/dependencies.md"), re.MULTILINE)
    justified = {name for cell in first_cells for name in re.findall("`([^`]+)`", cell.partition("(")[0])}
    assert justified == declared


# -- generated parts --------------------------------------------------------------------------------------------------


def test_generated_blocks_are_fresh() -> None:
    run = generator().full_run()
    for name in generator().DOCUMENTS:
        assert text(name) == generator().filled(text(name), run), f"{name} is stale; run: make docs"


def test_generated_pages_are_fresh(tmp_path: Path) -> None:
    for name, made in generator().pages().items():
        assert text(name) == made, f"{name} is stale; run: make docs"
    assert generator().pages(tmp_path / "no-run.json") == {}


def test_every_block_has_a_place_and_every_place_is_filled() -> None:
    places = [found[1] for page in PAGES for found in generator().BLOCK.findall(page.read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(generator().BLOCKS)
    named = {str(page.relative_to(ROOT)) for page in PAGES if "<!-- generated:" in page.read_text(encoding="utf-8")}
    assert named == set(generator().DOCUMENTS)


RUN: dict[str, Any] = {
    "when": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "Abacus", "cores": 2},
    "versions": {"nginx": "1.0"},
    "absent": {"smg": "not installed: how"},
    "bars": [
        {"name": "held", "value": 1.0, "limit": 2, "unit": "ratio", "better": "lower", "holds": True},
        {"name": "lost", "value": 3.5, "limit": 2, "unit": "ratio", "better": "lower", "holds": False},
        {"name": "gone", "value": None, "limit": 9, "unit": "MB", "better": "higher", "holds": False, "why": "absent"},
    ],
    "figures": {
        "direct": {"unary_us": 0.0, "chunk_us": 0.0},
        "nginx": {"unary_us": 11.04, "unary_8k_us": 12.0, "chunk_us": 9.126, "start_s": 0.02},
    },
}


def test_the_benchmark_blocks_show_a_run_with_its_missed_bars() -> None:
    table = generator().benchmark(RUN)
    assert "| nginx 1.0 | 11.0 | 12.0 | 9.13 | - | - | - | 0.02 |" in table
    assert "| direct" not in table
    assert "Not measured: smg." in table
    assert "1 of 3 bars hold; missed: lost, gone." in table
    assert "nginx 11.0 / 9.13" in generator().data_path(RUN)
    assert generator().told_missed(RUN["bars"]) == (
        "- `lost`: 3.5 ratio; wanted at most 2 ratio\n- `gone`: not measured; wanted at least 9 MB: absent"
    )


def test_the_columns_of_the_readme_are_columns_of_the_report() -> None:
    assert {key for key, _, _ in generator().COLUMNS} <= {key for key, _, _ in report.COLUMNS}


def test_without_a_full_run_the_blocks_say_so(tmp_path: Path) -> None:
    quick = tmp_path / "latest.json"
    assert generator().full_run(quick) is None
    quick.write_text('{"quick": true}')
    assert generator().full_run(quick) is None
    for block in (generator().benchmark, generator().data_path):
        assert generator().NO_RUN in block(None)


# -- links, navigation, form ------------------------------------------------------------------------------------------


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as the common renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in slugs(found), target


def entries(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(inner)


def test_the_navigation_holds_every_page() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {f"decisions/{d.name}" for d in DECISIONS}
    # The laws' page comes with the laws' tests, generated pages with the runs that they tell of.
    later = {"laws.md"} | {name.removeprefix("docs/") for name in generator().PAGES if name.endswith(".md")}
    assert set(entries(yaml.safe_load(text("mkdocs.yml"))["nav"])) == pages | later


def test_decisions_are_numbered_listed_and_whole() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        content = page.read_text(encoding="utf-8")
        assert f"({page.name})" in text("docs/decisions/README.md")
        assert content.startswith(f"# {int(page.name[:4])}. ")
        assert re.findall(r"^## (.+)$", content, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_changelog_fragments_have_a_kind() -> None:
    for path in (ROOT / "changes").iterdir():
        assert path.name == "README.md" or re.fullmatch(r"\d+\.(feature|bugfix|doc|removal|misc)\.md", path.name)


def test_front_pages_are_short() -> None:
    assert len(text("README.md").splitlines()) <= 80
    assert len(text("ARCHITECTURE.md").splitlines()) <= 100


def test_the_readme_shows_the_program_that_up_prints() -> None:
    program = banner.python("http://127.0.0.1:8080/v1", DEFAULT, keys=False)
    assert f"```python\n{program}\n```" in text("README.md")
    shown = re.search(r"```sh\n(curl .*?)\n```", text("README.md"), re.DOTALL)
    assert shown is not None
    printed = banner.curl("http://127.0.0.1:8080/v1", DEFAULT, keys=False)
    assert shlex.split(shown[1].replace("\\\n", "")) == shlex.split(printed)


# -- what must not be written -----------------------------------------------------------------------------------------

FORBIDDEN = re.compile(
    r"(?<![\w.~$}*])/(?:work/\w|root/\w|home/\w{3}|Users/\w)"  # a path of one machine
    r"|(?:pypi\.org|files\.pythonhosted|registry\.npmjs|crates\.io|(?:docker|ghcr|quay)\.io)\b",
    re.IGNORECASE,
)
SKIPPED = {".git", ".venv", ".bench", ".deps", "build", "dist", "__pycache__"}


def repository() -> list[Path]:
    """Files under version control, and new ones that it would take; every file where there is no git."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
        return [path for name in names if name and (path := ROOT / name).is_file()]
    return [p for p in ROOT.rglob("*") if p.is_file() and not SKIPPED & {*p.relative_to(ROOT).parts}]


def test_no_file_names_a_machine_path_or_a_registry() -> None:
    found = []
    for path in repository():
        data = path.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if hit := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {hit[0]}")
    assert not found
