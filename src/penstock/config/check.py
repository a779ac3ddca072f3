"""Rules that span fields. Each raises ConfigError with the field, the value and the fix."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from penstock.config.kv_events import check_kv_events
from penstock.config.oidc import check_oidc
from penstock.config.schema import Config
from penstock.core.errors import ConfigError
from penstock.core.limit import Level


def check(config: Config) -> None:
    """Raises ConfigError when fields that are fine alone do not fit together."""
    _names(config)
    _roles(config)
    _pools(config)
    _exposure(config)
    _keys(config)
    _tenants(config)
    check_kv_events(config)
    for index, engine in enumerate(config.engines):
        url = getattr(engine, "url", None)
        if url is not None:
            _url(f"engines.{index}.url", url)
    if config.listen.port and config.listen.port == config.admin.port and config.listen.host == config.admin.host:
        raise ConfigError(f"admin.port: {config.admin.port} is listen.port too; give each its own")


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(config: Config) -> None:
    if not config.engines:
        raise ConfigError("engines: the list is empty; remove the key for the embedded model, or name an engine")
    seen: set[str] = set()
    for index, engine in enumerate(config.engines):
        if engine.name in seen:
            raise ConfigError(f"engines.{index}.name: {engine.name!r} is used twice; choose another name")
        seen.add(engine.name)


def _roles(config: Config) -> None:
    roles = [(engine.pool, getattr(engine, "role", "both")) for engine in config.engines]
    answering = {pool for pool, role in roles if role != "prefill"}
    for index, (pool, role) in enumerate(roles):
        if role == "prefill" and pool not in answering:
            raise ConfigError(
                f"engines.{index}.role: 'prefill', and pool {pool!r} has no engine that answers; "
                "add one with role `decode` or `both` to the pool, or make this one `both`"
            )


def _pools(config: Config) -> None:
    known = {engine.pool for engine in config.engines}
    for model, rule in config.models.items():
        for pool in rule.pools:
            if pool not in known:
                there = ", ".join(sorted(known))
                raise ConfigError(f"models.{model}.pools: no engine is in pool {pool!r}; there are: {there}")
        if len(set(rule.pools)) != len(rule.pools):
            raise ConfigError(f"models.{model}.pools: a pool is named twice; name each once")


def _exposure(config: Config) -> None:
    if not is_loopback(config.listen.host) and config.auth.open:
        raise ConfigError(
            f"listen.host: {config.listen.host!r} is not loopback and auth lets everybody in; "
            "set auth.keys or auth.tenants, or bind 127.0.0.1"
        )
    if not is_loopback(config.admin.host) and not config.admin.token:
        raise ConfigError(
            f"admin.host: {config.admin.host!r} is not loopback and admin.token is empty; "
            "set admin.token or bind 127.0.0.1"
        )


def _keys(config: Config) -> None:
    for index, key in enumerate(config.auth.keys):
        _secret(f"auth.keys.{index}", key, 16)
        if key.startswith("sk-ps-"):
            raise ConfigError(f"auth.keys.{index}: *** has the form of a key of `penstock key`; set auth.tenants: true")
    if config.admin.token:
        _secret("admin.token", config.admin.token, 1 if is_loopback(config.admin.host) else 16)
    for index, engine in enumerate(config.engines):
        api_key = getattr(engine, "api_key", "")
        if api_key:
            _secret(f"engines.{index}.api_key", api_key, 1)


def _tenants(config: Config) -> None:
    if config.auth.oidc is not None:
        check_oidc("auth.oidc", config.auth.oidc)
    rules = config.rate_limits.rules()
    if config.auth.open and any(rule.level is not Level.ALL for rule in rules):
        raise ConfigError("rate_limits: the API is open, so nobody can be told apart; set auth, or limit `all`")
    if config.ledger.prices and not Path(config.ledger.prices).is_file():
        raise ConfigError(f"ledger.prices: there is no file {config.ledger.prices!r}; write one, or remove the field")


def _secret(field: str, value: str, least: int) -> None:
    if len(value) < least or not value.isascii() or not value.isprintable() or " " in value:
        length = f"at least {least} " if least > 1 else ""
        raise ConfigError(
            f"{field}: *** needs {length}printable ASCII characters without spaces or line ends; "
            "make one with `openssl rand -hex 24`"
        )


def _url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{field}: this is not a URL; write http://host:port/v1") from None
    if not host or not url.isascii() or not url.isprintable() or "@" in parts.netloc or port == 0:
        raise ConfigError(f"{field}: write http://host:port/v1, without a user or password; put keys in api_key")
