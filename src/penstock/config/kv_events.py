"""Rules for `routing.prefixes: precise` and the addresses of KV events."""

from penstock.config.engines import Http, Remote, Vllm
from penstock.config.schema import Config
from penstock.core.errors import ConfigError

FLAG = "kv-events-config"
MOST_PORT = 65_535


def check_kv_events(config: Config) -> None:
    """Raises ConfigError with the field, the value and the fix."""
    precise = config.routing.prefixes == "precise"
    tells = False
    for index, engine in enumerate(config.engines):
        if isinstance(engine, Vllm):
            tells = True
            if precise:
                _flags(f"engines.{index}.flags", engine)
        elif isinstance(engine, Remote):
            tells = tells or bool(engine.kv_events)
            _addresses(f"engines.{index}", engine)
    if precise and not tells:
        raise ConfigError(
            "routing.prefixes: 'precise' needs an engine that tells its KV events, and there is none; "
            "set kv_events of an engine, or write 'approximate'"
        )


def _flags(path: str, engine: Vllm) -> None:
    for name in engine.flags:
        if name.strip().lstrip("-").replace("_", "-").partition(".")[0] == FLAG:
            raise ConfigError(
                f"{path}.{name}: Penstock sets this itself while routing.prefixes is 'precise'; remove the flag"
            )


def _addresses(path: str, engine: Remote) -> None:
    for field, address in (("kv_events", engine.kv_events), ("kv_replay", engine.kv_replay)):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        if address and not 1 <= int(port) <= MOST_PORT:
            raise ConfigError(f"{path}.{field}: {address!r} has no port from 1 to {MOST_PORT}; correct it")
        if address and host != "*" and not isinstance(engine, Http):
            fix = f"write tcp://*:{port}, which is each engine's own host"
            raise ConfigError(f"{path}.{field}: {address!r} is one host for all engines found; {fix}")
    if engine.kv_replay and not engine.kv_events:
        raise ConfigError(f"{path}.kv_replay: {engine.kv_replay!r} stands alone; set kv_events as well, or remove it")
