"""LiteLLM's `model_list` -> engines, and the names that clients use for their models.

LiteLLM renames: clients ask for `model_name`, the engine gets `litellm_params.model`. A Penstock engine is asked for
its models by their own names; another name becomes a model without an engine whose fallbacks are the real ones.
"""

import re
from urllib.parse import urlsplit

import msgspec

from penstock.config.litellm.limits import limits_of
from penstock.config.litellm.part import Note, Part
from penstock.core.limit import Level, Rule

OPENAI = "https://api.openai.com/v1"
COMPATIBLE = {
    "openai": OPENAI,
    "text-completion-openai": OPENAI,
    "hosted_vllm": "",
    "openai_like": "",
    "custom_openai": "",
    "litellm_proxy": "",
    "xinference": "",
    "lm_studio": "",
}
"""Providers that speak OpenAI's API, and where each is when `api_base` does not say."""
WILDCARD = ("*", "openai/*")
NOT_NAME = re.compile(r"[^A-Za-z0-9._-]+")
NOT_WORD = re.compile(r"[^A-Za-z]+")


class Found(msgspec.Struct):
    """What the list holds."""

    engines: dict[tuple[str, str], dict[str, object]] = {}
    """By URL and credential: deployments that share both are one engine."""
    names: dict[str, list[str]] = {}
    """What clients ask for -> the engines' own names for it."""
    rules: list[Rule] = []
    max_in_flight: dict[str, int] = {}
    places: dict[str, str] = {}
    """Name -> where it stands first."""
    secrets: dict[str, str] = {}
    """Secret in the document -> the variable that has to hold it."""

    def serves(self, model: str) -> bool:
        """Whether an engine was given this name."""
        listed = (engine.get("models", ()) for engine in self.engines.values())
        return any(isinstance(models, list) and model in models for models in listed)


def read_models(document: Part) -> Found:
    """Engines, names and the limits of deployments."""
    found = Found()
    for entry in document.parts("model_list"):
        _deployment(entry, found)
        entry.close()
    return found


def _deployment(entry: Part, found: Found) -> None:
    name, params = entry.text("model_name"), entry.part("litellm_params")
    model, provider = params.text("model"), params.text("custom_llm_provider")
    entry.part("model_info").close("not imported: an engine says itself what it serves; prices are the price book's")
    if name is None or model is None:
        entry.skip(
            "model_name" if name is None else "litellm_params.model", "missing, so this deployment is not imported"
        )
    elif (address := _address(model, provider, params)) is not None:
        _engine(name, *address, params, found)
    params.close()


def _address(model: str, provider: str | None, params: Part) -> tuple[str, str] | None:
    """The engine's own name for the model, and its URL; None when the provider does not speak OpenAI's API."""
    prefix, sign, rest = model.partition("/")
    if provider is None:
        provider, model = (prefix, rest) if sign else ("openai", model)
    elif provider == prefix and sign:
        model = rest
    base = (params.text("api_base") or params.text("base_url") or COMPATIBLE.get(provider, "")).rstrip("/")
    if provider not in COMPATIBLE:
        params.skip("model", f"not imported: {provider!r:.40} does not speak OpenAI's API as it is")
        return None
    if not base.startswith(("http://", "https://", "${")):
        params.skip("api_base", f"{base!r:.60} is no URL, so this deployment is not imported")
        return None
    return model, base


def _engine(name: str, model: str, base: str, params: Part, found: Found) -> None:
    variable = f"{NOT_WORD.sub('_', name).strip('_').upper()[:40] or 'MODEL'}_API_KEY"
    key = params.secret("api_key", variable, found.secrets)
    if key is None and base == OPENAI:
        key = "${OPENAI_API_KEY}"
    engine = found.engines.setdefault((base, key or ""), _new_engine(base, key, found))
    if model == "*":
        engine.pop("models", None)
        if name not in WILDCARD:
            params.skip("model", f"the engine is asked for all of its models; the name {name!r:.60} is not kept")
        engine["all"] = True
        return
    if "*" in name:
        params.skip("model", f"not imported: {name!r:.60} stands for many names, and one model")
        return
    if "all" not in engine:
        served = engine.setdefault("models", [])
        assert isinstance(served, list)
        served += [model] if model not in served else []
    others = found.names.setdefault(name, [])
    others += [model] if model not in others else []
    found.places.setdefault(name, params.place)
    _limits(name, params, found)


def _new_engine(base: str, key: str | None, found: Found) -> dict[str, object]:
    host = NOT_NAME.sub("-", urlsplit(base).netloc or base).strip("-.") or "engine"
    taken = {engine["name"] for engine in found.engines.values()}
    names = (host[:56] if count == 1 else f"{host[:56]}-{count}" for count in range(1, len(taken) + 2))
    engine: dict[str, object] = {"kind": "http", "name": next(each for each in names if each not in taken), "url": base}
    return engine | ({"api_key": key} if key else {})


def _limits(name: str, params: Part, found: Found) -> None:
    for rule in limits_of(params, f"{NOT_NAME.sub('-', name)[:40]}_", Level.ALL, ("rpm", "tpm"), (name,)):
        params.changed(
            rule.name.rpartition("_")[2], "limits the model, all of its deployments together, for all callers"
        )
        for index, known in enumerate(found.rules):
            if known.name == rule.name:
                found.rules[index] = msgspec.structs.replace(known, limit=known.limit + rule.limit)
                break
        else:
            found.rules.append(rule)
    most = params.number("max_parallel_requests")
    if most:
        params.changed("max_parallel_requests", "bounds the model, all of its deployments together, in each worker")
        found.max_in_flight[name] = found.max_in_flight.get(name, 0) + int(most)


def renamed(found: Found, notes: list[Note]) -> dict[str, list[str]]:
    """Names that no engine knows -> the models that stand for them."""
    fallbacks = {}
    for name, models in found.names.items():
        others = [model for model in models if model != name]
        if name in models and others:
            notes.append(
                Note(found.places[name], f"{name!r:.60}: {', '.join(others)} stand in, and share no load", True)
            )
        elif len(models) > 1:
            notes.append(Note(found.places[name], f"{name!r:.60}: its models are asked in order, not in turn", True))
        if others:
            fallbacks[name] = others
    return fallbacks
