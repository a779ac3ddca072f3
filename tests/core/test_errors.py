"""Every error that ends a request knows its status, its code, and how it counts."""

import pytest

from penstock.core import errors
from penstock.core.errors import RequestError
from penstock.core.record import Outcome

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RequestError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_whole(kind: type[RequestError]) -> None:
    error = kind("a reason", param="field")
    assert 400 <= error.status <= 599
    assert error.type
    assert error.code.replace("_", "").isalpha()
    assert (str(error), error.message, error.param) == ("a reason", "a reason", "field")
    assert Outcome(error.outcome) is not Outcome.SUCCESS
    assert kind("x", code="other_code").code == "other_code"
    assert kind("x").code == kind.code, "an error's own code is no other's"


def test_codes_are_told_apart() -> None:
    assert len({kind.code for kind in KINDS}) >= len(KINDS) - 1  # the base and InternalError share theirs
