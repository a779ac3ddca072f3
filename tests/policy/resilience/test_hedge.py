"""Second copies: never after a first byte, never of what is not repeatable, never on the part kept for retries."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.resilience.hedge import Hedger, HedgeSettings
from penstock.policy.resilience.retry import RetryBudget, RetrySettings
from penstock.policy.resilience.timeouts import Ceilings, Timeouts, TimeoutSettings, kind_of

KIND = kind_of("m", True, 10, 0, 0)


def hedger(requests: int, settings: HedgeSettings | None = None) -> tuple[Hedger, RetryBudget, Timeouts]:
    budget = RetryBudget(RetrySettings(floor_per_s=0.0))
    for _ in range(requests):
        budget.requested(0.0)
    learned = Timeouts(TimeoutSettings(minimum=10), Ceilings(300, 120, 3600))
    return Hedger(settings or HedgeSettings(enabled=True), budget, learned), budget, learned


def test_the_delay_is_the_learned_quantile_above_a_floor() -> None:
    one, _, learned = hedger(0)
    assert one.delay_s(KIND, repeatable=True) is None
    for number in range(1, 101):
        learned.learned(KIND, first_s=number / 10)
    assert one.delay_s(KIND, repeatable=True) == 9.5
    assert one.delay_s(KIND, repeatable=False) is None
    for _ in range(256):
        learned.learned(KIND, first_s=0.001)
    assert one.delay_s(KIND, repeatable=True) == 0.1


@given(requests=st.integers(0, 500), wished=st.integers(0, 100), retried=st.integers(0, 100))
def test_copies_leave_the_reserve_to_retries(requests: int, wished: int, retried: int) -> None:
    one, budget, _ = hedger(requests)
    copies = sum(one.may_hedge(0.0, repeatable=True, first_byte=False, copies=1) for _ in range(wished))
    assert copies <= 0.5 * budget.allowed
    granted = sum(budget.may_retry(0.0) for _ in range(retried))
    assert granted >= min(retried, int(0.5 * budget.allowed))
    assert copies + granted <= 0.1 * requests + 1e-9


@given(
    enabled=st.booleans(), repeatable=st.booleans(), first_byte=st.booleans(), copies=st.integers(0, 3), n=st.booleans()
)
def test_a_copy_is_sent_only_when_all_conditions_hold(
    enabled: bool, repeatable: bool, first_byte: bool, copies: int, n: bool
) -> None:
    one, budget, _ = hedger(100 if n else 0, HedgeSettings(enabled=enabled))
    may = one.may_hedge(0.0, repeatable=repeatable, first_byte=first_byte, copies=copies)
    assert may == (enabled and repeatable and not first_byte and copies == 1 and n)
    assert budget.left(0.0) == (10 if n else 0) - may
