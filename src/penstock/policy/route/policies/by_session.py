"""Session affinity by rendezvous hashing: no memory, the same answer in every worker and replica."""

from penstock.policy.route.policies.by_load import least_load
from penstock.policy.route.policies.plain import thinned
from penstock.policy.route.rendezvous import key_of
from penstock.policy.route.view import Pick, View


def session(view: View) -> Pick:
    """The session's engine, whatever the load; the least loaded for a request without a session."""
    if not view.ask.session:
        return least_load(view)
    slots = thinned(view)
    return (view.rendezvous(key_of(view.ask.session), slots), "session's own of %d", (len(slots),))
