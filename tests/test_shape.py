"""The shape of the source tree: small files, no drawers of odds and ends, no shared mutable state, quick imports."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "penstock"
FILES = sorted(SOURCE.rglob("*.py"))
PACKAGES = ["penstock", *sorted(f"penstock.{init.parent.name}" for init in SOURCE.glob("*/__init__.py"))]

LONGEST_FILE = 600
IMPORT_S = 0.3
DEPENDENCIES = 15
MUTABLE = frozenset({"list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict"})


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_no_file_is_a_drawer() -> None:
    assert not [
        name_of(path) for path in FILES if path.stem in ("utils", "util", "helpers", "helper", "misc", "common")
    ]


def assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of what a statement at module level binds."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value


def mutable(value: ast.expr) -> bool:
    """Whether an expression makes a container that can change."""
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in MUTABLE
    return False


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_holds_state(path: Path) -> None:
    """A table in capitals is a constant; nothing else that can change lives at module level, and nobody rebinds it."""
    tree = ast.parse(path.read_text())
    loose = [
        name
        for statement in tree.body
        for name, value in assigned(statement)
        if mutable(value) and not name.lstrip("_").isupper() and name != "__all__"
    ]
    assert not loose
    assert not [node.names for node in ast.walk(tree) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_quick(package: str) -> None:
    """CPU time of the import in a fresh interpreter, the best of up to three: the machine may be busy."""
    program = f"import time; begun = time.process_time(); import {package}; print(time.process_time() - begun)"
    best = float("inf")
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        best = min(best, float(ran.stdout))
        if best < IMPORT_S:
            return
    pytest.fail(f"importing {package} takes {best:.2f} s of CPU; at most {IMPORT_S} s")


def test_direct_dependencies_are_few() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= DEPENDENCIES
