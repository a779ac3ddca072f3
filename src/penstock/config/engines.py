"""The kinds of engines a document may name."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config.section import Name, Seconds, Section

Dialect = Annotated[
    Literal["auto", "vllm", "sglang", "trtllm", "triton", "tgi", "llamacpp", "none"],
    Meta(description="Whose metric names it uses; `auto` finds out, `none` reads no metrics"),
]
EngineName = Annotated[Name, Meta(description="Name of the engine in metrics, logs and the console")]
KvAddress = Annotated[str, Meta(pattern=r"^(tcp://(\*|\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]*]+):[0-9]{1,5})?$")]
EnginePort = Annotated[int, Meta(ge=1, le=65535, description="TCP port of every engine found")]
Pool = Annotated[Name, Meta(description="Engines of one pool share a queue and stand in for each other")]
Role = Annotated[
    Literal["both", "prefill", "decode"], Meta(description="Part of a request it does, where prefill is split off")
]
Cost = Annotated[float, Meta(ge=0, description="Money per million tokens; only its relation to others matters")]
MaxInFlight = Annotated[
    int, Meta(ge=0, description="Requests each worker sends it at once; more wait in the queue. 0 sets no bound")
]


class LlamaCpp(Section, tag_field="kind", tag="llamacpp", frozen=True):
    """An engine that Penstock runs itself: llama.cpp in a child process."""

    name: EngineName = "local"
    model: Annotated[
        str,
        Meta(description="A known model, or a source: `pypi:`, `hf:`, `file:`, `https:` (see docs/models.md)"),
    ] = "smollm2-135m-instruct"
    alias: Annotated[str, Meta(description="Model name that clients use; empty takes the known model's name")] = ""
    context_tokens: Annotated[int, Meta(ge=0, description="Context over all slots; 0 chooses by the model")] = 0
    slots: Annotated[int, Meta(ge=1, le=256, description="Requests decoded at the same time")] = 4
    threads: Annotated[int, Meta(ge=0, description="Threads; 0 takes all cores but one")] = 0
    startup_timeout: Annotated[Seconds, Meta(description="A start that takes longer counts as failed")] = 120.0
    extra: Annotated[
        dict[str, str | int | float | bool], Meta(description="Further llama.cpp parameters by name, checked")
    ] = msgspec.field(default_factory=dict)
    pool: Pool = "default"
    cost: Cost = 0.0
    max_in_flight: Annotated[
        int, Meta(ge=0, description="Requests each worker sends it at once; more wait in the queue. 0 takes its slots")
    ] = 0


class Vllm(Section, tag_field="kind", tag="vllm", frozen=True):
    """An engine that Penstock runs itself: `vllm serve` as a child process. vLLM must be installed."""

    name: EngineName
    model: Annotated[str, Meta(min_length=1, description="What `vllm serve` is given: a folder, or a hub's name")]
    served_name: Annotated[str, Meta(description="Model name that clients use; empty takes `model`")] = ""
    executable: Annotated[str, Meta(description="Path or name of the `vllm` program")] = "vllm"
    flags: Annotated[
        dict[str, str | int | float | bool],
        Meta(description="Flags of `vllm serve` by name, without dashes; checked against the installed version"),
    ] = msgspec.field(default_factory=dict)
    environment: Annotated[dict[str, str], Meta(description="Environment variables it gets on top of ours")] = (
        msgspec.field(default_factory=dict)
    )
    adapters: Annotated[
        dict[str, str], Meta(description="LoRA adapters loaded once it is ready: model name -> folder")
    ] = msgspec.field(default_factory=dict)
    startup_timeout: Annotated[Seconds, Meta(description="A start that takes longer counts as failed")] = 600.0
    stop_timeout: Annotated[Seconds, Meta(description="SIGTERM -> SIGKILL")] = 30.0
    pool: Pool = "default"
    role: Role = "both"
    cost: Cost = 0.0
    max_in_flight: MaxInFlight = 0


class Remote(Section, frozen=True, kw_only=True):
    """What is said of engines that somebody else starts."""

    api_key: Annotated[str, Meta(description="Sent as `Authorization: Bearer`; write `${NAME}`, not the key")] = ""
    models: Annotated[tuple[str, ...], Meta(description="Models it serves; none asks the engine's /v1/models")] = ()
    probe_interval: Annotated[Seconds, Meta(description="Seconds between two health probes")] = 5.0
    connections: Annotated[int, Meta(ge=1, description="Idle connections each worker keeps open to it")] = 256
    dialect: Dialect = "auto"
    metrics: Annotated[
        str, Meta(description="URL of its metrics; empty asks `/metrics` at the root of its URL, `off` asks none")
    ] = ""
    kv_events: Annotated[
        KvAddress,
        Meta(description="Where vLLM publishes its KV events, `tcp://host:port`; `*` is the engine's own host"),
    ] = ""
    kv_replay: Annotated[
        KvAddress, Meta(description="Where it sends past ones again, its `replay_endpoint`; `*` as in `kv_events`")
    ] = ""
    pool: Pool = "default"
    role: Role = "both"
    cost: Cost = 0.0
    max_in_flight: MaxInFlight = 0


class Http(Remote, tag_field="kind", tag="http", frozen=True):
    """Any server with an OpenAI-compatible API: vLLM, SGLang, OpenAI."""

    name: EngineName
    url: Annotated[
        str,
        Meta(pattern=r"^https?://[^\s/?#]+[^\s?#]*$", description="Base URL, e.g. `http://10.0.0.5:8000/v1`"),
    ]


class Dns(Remote, tag_field="kind", tag="dns", frozen=True):
    """Every address behind a DNS name is an engine; they come and go with the name's records."""

    name: EngineName
    host: Annotated[
        str,
        Meta(min_length=1, description="Name to resolve; one that begins with `_` has SRV records, which tell ports"),
    ]
    port: EnginePort = 8000
    interval: Annotated[Seconds, Meta(description="Seconds between two resolutions")] = 10.0

    @property
    def srv(self) -> bool:
        """Whether the name is one of SRV records: `_service._protocol.name`."""
        return self.host.startswith("_")


class File(Remote, tag_field="kind", tag="file", frozen=True):
    """Every URL in a watched file (YAML or JSON) is an engine. A file that cannot be read changes nothing."""

    name: EngineName
    path: Annotated[str, Meta(min_length=1, description="A list of URLs, or of mappings with `name` and `url`")]
    interval: Annotated[Seconds, Meta(description="Seconds between two looks at the file")] = 1.0


class Kubernetes(Remote, tag_field="kind", tag="kubernetes", frozen=True):
    """Every ready endpoint of a Kubernetes service is an engine."""

    name: EngineName
    service: Annotated[str, Meta(min_length=1, description="Name of the service")]
    namespace: Annotated[str, Meta(description="Its namespace; empty takes the pod's own")] = ""
    port: EnginePort = 8000


Engine = LlamaCpp | Vllm | Http | Dns | File | Kubernetes
KINDS: dict[str, type[LlamaCpp | Vllm | Http | Dns | File | Kubernetes]] = {
    "llamacpp": LlamaCpp, "vllm": Vllm, "http": Http, "dns": Dns, "file": File, "kubernetes": Kubernetes,
}  # fmt: skip
