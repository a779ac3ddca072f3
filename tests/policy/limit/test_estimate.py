"""How many tokens a request will use, learned from those that have ended."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.limit.estimate import MOST_KINDS, Estimates, EstimateSettings

SETTINGS = EstimateSettings(quantile=0.9, samples=20, minimum=8, prior=256)


def test_the_prior_holds_until_enough_is_known_then_the_model_then_the_key() -> None:
    estimates = Estimates(SETTINGS)
    for _ in range(7):
        estimates.learn("m", "one", 0, 0, 10)
    assert estimates.output_tokens("m", "one") == 256
    estimates.learn("m", "two", 0, 0, 10)
    assert estimates.output_tokens("m", "one") == 10, "eight of the model"
    for _ in range(8):
        estimates.learn("m", "two", 0, 0, 900)
    assert estimates.output_tokens("m", "two") == 900
    assert estimates.output_tokens("other", "two") == 256


@given(answers=st.lists(st.integers(0, 10_000), min_size=8, max_size=60), most=st.integers(0, 5_000))
def test_it_is_a_quantile_of_the_last_answers_and_never_above_max_tokens(answers: list[int], most: int) -> None:
    estimates = Estimates(SETTINGS)
    for answer in answers:
        estimates.learn("m", "k", 0, 0, answer)
    estimate = estimates.output_tokens("m", "k")
    recent = answers[-20:]
    assert sum(answer <= estimate for answer in recent) >= 0.9 * len(recent)
    assert estimate in recent
    assert estimates.output_tokens("m", "k", most) == min(most, estimate)


def test_bytes_per_token_are_learned_for_each_model() -> None:
    estimates = Estimates(SETTINGS)
    assert estimates.input_tokens("m", 350) == 100
    for _ in range(400):
        estimates.learn("m", "k", 1_000, 500, 1)
    assert estimates.input_tokens("m", 1_000) == 500
    assert estimates.input_tokens("other", 350) == 100
    assert estimates.input_tokens("m", 0) == 0
    estimates.learn("n", "k", 0, 17, 1)
    estimates.learn("n", "k", 17, 0, 1)
    assert estimates.input_tokens("n", 35) == 10


def test_what_is_remembered_is_bounded() -> None:
    estimates = Estimates(EstimateSettings(minimum=1))
    for number in range(MOST_KINDS + 100):
        estimates.learn("m", f"key{number}", 0, 0, 7)
    assert len(estimates._kinds) == MOST_KINDS
    assert estimates.output_tokens("m", "key0") == 7, "the model is remembered"
