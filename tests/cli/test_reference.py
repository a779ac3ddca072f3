"""The generated documents say what the program says."""

from pathlib import Path

import pytest

from penstock.cli.reference import documents

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(documents()))
def test_generated_documents_are_fresh(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == documents()[name], "run: python -m penstock.cli.reference"
