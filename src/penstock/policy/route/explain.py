"""A decision, written out for people."""

from penstock.policy.route.facts import Decision, Scored
from penstock.policy.route.roster import unfit
from penstock.policy.route.scores import SCORERS
from penstock.policy.route.view import View, members


def account(decision: Decision) -> dict[str, object]:
    """The decision as JSON-able data; only the decision itself when it has no snapshot."""
    head: dict[str, object] = {
        "engine": decision.engine,
        "policy": decision.policy,
        "reason": decision.reason,
        "matched_tokens": decision.matched_tokens,
        "seconds": decision.seconds,
    }
    view = decision.snapshot
    if not isinstance(view, View):
        return head
    ask = view.ask
    head["index"] = "precise" if view.told else "approximate" if ask.chain else "none"
    head["lookup"] = ask.lookup or None
    head["asked"] = {
        "model": ask.model,
        "blocks": len(view.told or ask.chain),
        "prompt_tokens": ask.prompt_tokens,
        "output_tokens": ask.output_tokens,
        "session": ask.session,
        "priority": ask.priority,
    }
    least = view.least()
    head["waits"] = decision.full
    head["window"] = {"least": least, "bound": view.bound(least)}
    head["crowding"] = view.predictor.crowding
    head["candidates"] = [
        {
            "engine": scored.engine,
            "load": view.loads[slot],
            "score": scored.score,
            "parts": scored.parts,
            "matched_tokens": scored.matched_tokens,
            "in_flight": scored.in_flight,
            "in_flight_tokens": scored.in_flight_tokens,
        }
        for slot, scored in _candidates(view, decision.engine)
    ]
    head["filtered"] = _filtered(view, decision.engine)
    return head


def _candidates(view: View, engine: str) -> list[tuple[int, Scored]]:
    """Best first; `engine`, which was chosen, among them though it be full."""
    scorers = {name: SCORERS[name](view) for name in SCORERS}
    weights = view.settings.weights or dict.fromkeys(scorers, 1.0)
    whole = sum(weights.values()) or 1.0
    rows = []
    waits = [slot for slot in members(view.full) if view.standing(slot).facts.name == engine]
    for slot in (*view.slots, *waits):
        parts = {name: score(slot) for name, score in scorers.items()}
        rows.append(
            (
                slot,
                Scored(
                    view.standing(slot).facts.name,
                    sum(weight * parts[name] for name, weight in weights.items()) / whole,
                    parts,
                    view.tokens(view.depth(slot)),
                    *view.claimed[slot],
                ),
            )
        )
    return sorted(rows, key=lambda row: row[1].score, reverse=True)


def _filtered(view: View, engine: str) -> list[dict[str, str]]:
    chosen = set(view.slots)
    rows = []
    for slot, standing in enumerate(view.frame.standings):
        if standing is None or slot in chosen or standing.facts.name == engine:
            continue
        why = unfit(standing.facts, view.ask)
        if why is None:
            why = "excluded" if standing.facts.name in view.excluded else "max_in_flight reached"
        rows.append({"engine": standing.facts.name, "reason": why})
    return rows
