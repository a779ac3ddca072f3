"""Where a managed vLLM publishes what comes into its KV cache and leaves it."""

import logging
import secrets

import msgspec

from penstock.engines.vllm.flags import Option, plain
from penstock.engines.vllm.settings import VllmSettings

log = logging.getLogger("penstock.process")

FLAG = "kv-events-config"
RANKS = "data-parallel-size"


def with_events(settings: VllmSettings, known: dict[str, Option]) -> tuple[VllmSettings, dict[str, str]]:
    """The settings with the flag that has it publish, and the addresses: `kv_events` and `kv_replay`. Both empty where
    it cannot.

    Sockets of this machine in the abstract namespace: a TCP address that vLLM binds is open to the network, and the
    events hold the prompts' tokens.
    """
    none = {"kv_events": "", "kv_replay": ""}
    if not settings.kv_events:
        return settings, none
    if FLAG not in known:
        log.warning("%s: this vLLM has no --%s; its prefixes are guessed by what is sent there", settings.name, FLAG)
        return settings, none
    if any(plain(name) == RANKS and str(value) != "1" for name, value in settings.flags.items()):
        log.warning("%s: with --%s each rank has a cache of its own; prefixes are guessed", settings.name, RANKS)
        return settings, none
    name = f"ipc://@penstock-{secrets.token_hex(8)}"
    addresses = {"kv_events": f"{name}-events", "kv_replay": f"{name}-replay"}
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": addresses["kv_events"],
        "replay_endpoint": addresses["kv_replay"],
    }
    flags = {**settings.flags, FLAG: msgspec.json.encode(config).decode()}
    return msgspec.structs.replace(settings, flags=flags), addresses
