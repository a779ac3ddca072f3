"""What a caller may use: models and endpoints. An empty list of a kind allows all of that kind."""

from urllib.parse import unquote

from penstock.core.errors import Forbidden
from penstock.core.tenant import Principal, Scopes, Tenant

ANYBODY = Principal(Tenant())
"""Who asks an open API."""
NOTHING = ("\0",)
"""Patterns of which none matches: where a key's list and its team's have nothing in common."""
MODELS = b"/v1/models"


def permit(principal: Principal, path: bytes, model: str | None) -> None:
    """Raises Forbidden unless the caller may ask for `model` on `path` (no query string).

    A caller bound to certain models has to name one, since an engine would choose any. The list of models is answered
    without; `/v1/models/{id}` names one in its path.
    """
    scopes = principal.scopes
    if scopes.endpoints and not path_allowed(scopes, path):
        raise Forbidden(
            f"This key may not use {path.decode('latin-1')!r:.140}; ask for a key whose endpoints include it.",
            code="endpoint_not_allowed",
        )
    if scopes.models and path.startswith(MODELS):
        model = unquote(path[len(MODELS) + 1 :])
        if path in (MODELS, MODELS + b"/"):
            return
    if scopes.models and not model_allowed(scopes, model):
        named = f"use the model {model!r:.140}" if model else "be used without naming a model"
        raise Forbidden(
            f"This key may not {named}; GET /v1/models lists what it may use.", code="model_not_allowed", param="model"
        )


def model_allowed(scopes: Scopes, model: str | None) -> bool:
    """Whether a request for `model` is inside `scopes.models`."""
    if not scopes.models:
        return True
    if not model or "\0" in model:
        return False
    if model in scopes.models:
        return True
    return any(pattern[-1] == "*" and model.startswith(pattern[:-1]) for pattern in scopes.models)


def path_allowed(scopes: Scopes, path: bytes) -> bool:
    """Whether `path` is one of `scopes.endpoints` or below it, whole segments at a time.

    An engine may read `%2e%2e`, `//`, `\\` or `.` segments as another path: a caller bound to endpoints may not send
    them.
    """
    if not scopes.endpoints:
        return True
    asked = path.decode("latin-1")
    if asked in scopes.endpoints:
        return True
    if "%" in asked or "//" in asked or "/." in asked or "\\" in asked:
        return False
    return any(asked.startswith(f"{prefix}/") for prefix in scopes.endpoints)


def common_models(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns that allow what both lists allow; NOTHING when that is no model at all."""
    if not outer or not inner:
        return outer or inner
    both = {narrow for a in outer for b in inner if (narrow := _narrower_model(a, b)) is not None}
    return tuple(sorted(both)) or NOTHING


def common_endpoints(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    """As above, for path prefixes."""
    if not outer or not inner:
        return outer or inner
    both = {narrow for a in outer for b in inner if (narrow := _narrower_path(a, b)) is not None}
    return tuple(sorted(both)) or NOTHING


def _narrower_model(a: str, b: str) -> str | None:
    for wide, narrow in ((a, b), (b, a)):
        if wide == narrow or (wide[-1] == "*" and narrow.removesuffix("*").startswith(wide[:-1])):
            return narrow
    return None


def _narrower_path(a: str, b: str) -> str | None:
    for wide, narrow in ((a, b), (b, a)):
        if wide == narrow or narrow.startswith(f"{wide}/"):
            return narrow
    return None
