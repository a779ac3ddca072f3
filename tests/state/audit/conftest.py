"""One log, written once, that tests copy and damage."""

from pathlib import Path

import pytest

from tests.state.audit.world import files, key_file, write_log


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    write_log(folder)
    return files(folder)


@pytest.fixture(scope="session")
def secret(tmp_path_factory: pytest.TempPathFactory) -> str:
    return key_file(tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory, secret: str) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("signed")
    write_log(folder, secret)
    return files(folder)


@pytest.fixture(scope="session")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is emptied for each example of a property."""
    return tmp_path_factory.mktemp("spot")
