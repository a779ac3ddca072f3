"""What a managed vLLM is started with."""

import msgspec

Flag = str | int | float | bool | list[str | int | float]


class VllmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `vllm serve`."""

    name: str
    """Name of the engine, for logs."""
    model: str
    """What `vllm serve` is given: a folder, or a hub's name."""
    executable: str = "vllm"
    """Path or name of the `vllm` program."""
    served_name: str = ""
    """Model name that clients use; empty takes `model`."""
    flags: dict[str, Flag] = {}
    """Flags of `vllm serve`, without dashes in front: `max-model-len: 4096`, `enforce-eager: true`."""
    environment: dict[str, str] = {}
    """Variables it gets on top of ours."""
    adapters: dict[str, str] = {}
    """LoRA adapters it starts with: model name -> folder. They imply `enable-lora`."""
    runtime_adapters: bool = True
    """With LoRA on, whether adapters may be loaded and unloaded while it runs. It listens on loopback only."""
    kv_events: bool = False
    """Whether it publishes what comes into its KV cache and leaves it, on this machine."""
    startup_timeout_s: float = 600.0
    """Start to the end of the warm-up; a start that takes longer counts as failed."""
    drain_timeout_s: float = 10.0
    """How long a wanted stop waits for the requests it still has."""
    stop_timeout_s: float = 30.0
    """SIGTERM to SIGKILL."""

    @property
    def alias(self) -> str:
        return self.served_name or self.model
