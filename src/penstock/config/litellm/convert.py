"""The whole document."""

from collections.abc import Mapping

import msgspec

from penstock.config.litellm.limits import budget_of, limits_of
from penstock.config.litellm.models import Found, read_models, renamed
from penstock.config.litellm.part import Note, Part
from penstock.config.rule import rule_text
from penstock.core.limit import Level, Rule

LIMITS = "rate_limits"
"""Section of the config that takes the rules."""
POLICIES = {
    "simple-shuffle": "random",
    "least-busy": "least_load",
    "latency-based-routing": "predicted_latency",
    "cost-based-routing": "lowest_cost",
    "usage-based-routing": "least_load",
    "usage-based-routing-v2": "least_load",
}
KEY_LIMITS = ("tpm_limit", "rpm_limit", "max_parallel_requests")
MOST_ATTEMPTS = 10


class Imported(msgspec.Struct, frozen=True):
    """A Penstock document, the rules that are in it, and what did not fit."""

    document: dict[str, object]
    rules: tuple[Rule, ...]
    notes: tuple[Note, ...]


def convert(foreign: Mapping[str, object]) -> Imported:
    """Never raises: what is not understood is in the notes."""
    notes: list[Note] = []
    whole = Part(dict(foreign), "", notes)
    found = read_models(whole)
    rules = list(found.rules)
    router, litellm, general = (whole.part(f"{name}_settings") for name in ("router", "litellm", "general"))
    document: dict[str, object] = {}
    document |= _access(general)
    if found.engines:
        document["engines"] = [
            {name: value for name, value in engine.items() if name != "all"} for engine in found.engines.values()
        ]
    else:
        notes.append(Note("model_list", "no deployment could be imported; the config runs the embedded model"))
    models = _models(found, router, litellm)
    if models:
        document["models"] = models
    document |= _sections(router, litellm)
    rules += budget_of(litellm, "", Level.ALL)
    rules += limits_of(general, "", Level.ALL, ("global_max_parallel_requests",))
    keys = litellm.part("default_key_generate_params")
    rules += limits_of(keys, "key_", Level.KEY, KEY_LIMITS) + budget_of(keys, "key_", Level.KEY)
    keys.close("not imported: say it of each key, with penstock key create")
    _close(whole, router, litellm, general)
    if rules:
        lines = {level.value: [rule_text(rule) for rule in rules if rule.level is level] for level in Level}
        document[LIMITS] = {level: texts for level, texts in lines.items() if texts}
    return Imported(document, tuple(rules), tuple(notes))


def _access(general: Part) -> dict[str, object]:
    key = general.secret("master_key", "PENSTOCK_ADMIN_TOKEN", {})
    if key is None:
        return {}
    general.changed("master_key", "both a key of the API and admin.token; it needs 16 characters or more")
    return {"admin": {"token": key}, "auth": {"keys": [key]}}


def _models(found: Found, router: Part, litellm: Part) -> dict[str, dict[str, object]]:
    names = renamed(found, router.notes)
    fallbacks = {name: list(models) for name, models in names.items()}
    aliases = router.part("model_group_alias")
    for alias in aliases.names():
        model = aliases.text(alias)
        if model is not None:
            fallbacks.setdefault(alias, []).append(model)
    for part in (router, litellm):
        for listed in part.parts("fallbacks"):
            for model in listed.names():
                fallbacks.setdefault(model, []).extend(listed.texts(model))
    models: dict[str, dict[str, object]] = {}
    for name, others in fallbacks.items():
        # The fallbacks of a fallback are not followed, so a name that stands for models gives way to them.
        real = [model for other in others for model in ([other] if found.serves(other) else names.get(other, [other]))]
        models[name] = {"fallbacks": list(dict.fromkeys(model for model in real if model != name))}
    for name, most in found.max_in_flight.items():
        models.setdefault(name, {})["max_in_flight"] = most
    return {name: model for name, model in models.items() if model.get("fallbacks") or "max_in_flight" in model}


def _sections(router: Part, litellm: Part) -> dict[str, object]:
    sections: dict[str, dict[str, object]] = {"routing": {}, "resilience": {}, "timeouts": {}}
    strategy = router.text("routing_strategy")
    if strategy in POLICIES:
        sections["routing"]["policy"] = POLICIES[strategy]
    elif strategy is not None:
        router.skip("routing_strategy", f"{strategy!r:.40} is not known; known: {', '.join(POLICIES)}")
    for part in (litellm, router):
        retries = part.number("num_retries")
        if retries is not None:
            sections["resilience"]["attempts"] = min(MOST_ATTEMPTS, int(retries) + 1)
    fails, cooldown = router.number("allowed_fails"), router.seconds("cooldown_time")
    if fails is not None:
        router.changed("allowed_fails", "failures in a row count, not failures per minute")
        sections["resilience"]["breaker_failures"] = int(fails) + 1
    if cooldown:
        sections["resilience"]["breaker_open"] = cooldown
    for part, name in ((litellm, "request_timeout"), (router, "timeout")):
        seconds = part.seconds(name)
        if seconds:
            sections["timeouts"]["total"] = seconds
    return {name: section for name, section in sections.items() if section}


def _close(whole: Part, router: Part, litellm: Part, general: Part) -> None:
    if general.text("database_url") is not None:
        general.skip("database_url", "not imported: its keys and models are not in this file; see penstock key create")
    variables = whole.part("environment_variables")
    variables.close("not imported: export it before Penstock starts")
    for part in (router, litellm, general, whole):
        part.close()
