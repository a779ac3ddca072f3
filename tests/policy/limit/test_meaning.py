"""The id of a count says what it counts."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.limit import Level, Measure, Rule, Span
from penstock.core.tenant import Tenant
from penstock.policy.limit.bucket import Meaning, bucket_of, meaning_of

NAMES = st.text(max_size=12) | st.sampled_from(["", "/", "%2F", "%", "a/b", "%25"])
SUBJECTS = {
    Level.ALL: lambda tenant: (),
    Level.ORG: lambda tenant: (tenant.org,),
    Level.TEAM: lambda tenant: (tenant.org, tenant.team),
    Level.KEY: lambda tenant: (tenant.key,),
}
SPANS = st.sampled_from([(60.0, None), (0.0, Span.DAY), (0.0, None)])


@given(
    NAMES, st.sampled_from(Measure), st.sampled_from(Level), SPANS, st.builds(Tenant, NAMES, NAMES, NAMES), NAMES,
    st.booleans(), st.sampled_from(["config", "own"]),
)  # fmt: skip
def test_what_a_bucket_was_made_of_is_read_from_its_id(
    name: str,
    measure: Measure,
    level: Level,
    span: tuple[float, Span | None],
    tenant: Tenant,
    model: str,
    each_model: bool,
    source: str,
) -> None:
    rule = Rule(name, measure, 10, level, *span, each_model=each_model)
    found = meaning_of(bucket_of(source, rule, tenant, model))
    subject = SUBJECTS[level](tenant)
    assert found == Meaning(source == "own", level, subject, name, measure, model if each_model else "")
