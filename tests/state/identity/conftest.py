"""One provider for all tests: making an RSA key takes a moment."""

import pytest

from tests.state.identity.provider import Provider


@pytest.fixture(scope="session")
def provider() -> Provider:
    return Provider()
