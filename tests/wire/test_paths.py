"""What API clients may ask of an engine, and what they may not."""

import pytest

from penstock.core.errors import BadRequest, NotFound
from penstock.wire.paths import PLAIN, check_path


@pytest.mark.parametrize(
    "path", [b"/v1/chat/completions", b"/tokenize", b"/v1/models/gpt-4.1", b"/v1/a..b", b"/v1/%41"]
)
def test_the_api_is_let_through(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize("path", sorted(PLAIN))
def test_what_is_not_looked_at_would_be_let_through(path: bytes) -> None:
    check_path(path)


@pytest.mark.parametrize("path", [b"/", b"/metrics", b"/slots", b"/v1", b"/v2/chat", b"/tokenize/x", b"/sleep"])
def test_an_operators_path_is_not_found(path: bytes) -> None:
    with pytest.raises(NotFound, match="is not served"):
        check_path(path)


@pytest.mark.parametrize(
    "path", [b"/v1/../metrics", b"/v1/%2e%2E/metrics", b"/v1/..%2fmetrics", b"/v1/.", b"/v1/..", b"/v1/..%5cslots"]
)
def test_a_path_that_could_be_read_as_another_is_refused(path: bytes) -> None:
    with pytest.raises(BadRequest, match="segments"):
        check_path(path)
