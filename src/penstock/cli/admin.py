"""Questions to the admin listener of a running platform."""

from typing import Any

import httpx

from penstock.cli.checks import admin_url
from penstock.config.schema import Config
from penstock.core.errors import PenstockError


def ask(config: Config, method: str, path: str, body: object = None, timeout_s: float = 10.0) -> Any:
    """The JSON that answers. Raises PenstockError with the listener's own words, or when none listens."""
    try:
        answer = _send(config, method, path, body, timeout_s)
    except httpx.HTTPError as error:
        raise PenstockError(f"no platform answers on {admin_url(config)}: {error}; start one: penstock up") from None
    try:
        said = answer.json()
    except ValueError:
        said = {}
    if answer.status_code != 200:
        reason = said.get("error", {}).get("message") if isinstance(said, dict) else None
        raise PenstockError(reason or f"{method} {path} was answered {answer.status_code}")
    return said


def metrics(config: Config, timeout_s: float = 5.0) -> str:
    """The Prometheus text; empty when no platform answers, or not with it."""
    try:
        answer = _send(config, "GET", "/metrics", None, timeout_s)
    except httpx.HTTPError:
        return ""
    return answer.text if answer.status_code == 200 else ""


def _send(config: Config, method: str, path: str, body: object, timeout_s: float) -> httpx.Response:
    headers = {"authorization": f"Bearer {config.admin.token}"} if config.admin.token else {}
    return httpx.request(method, admin_url(config) + path, json=body, headers=headers, timeout=timeout_s)
