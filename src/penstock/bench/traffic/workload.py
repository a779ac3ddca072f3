"""A load, described: classes of requests, and the stages in which they are sent."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from penstock.bench.traffic.arrivals import Shape
from penstock.bench.traffic.lengths import Length

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")]


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What prompts of a class begin with together."""

    tokens: Annotated[int, Meta(ge=0, description="Of the shared beginning; 0: none")] = 0
    variants: Annotated[int, Meta(ge=1, le=100_000, description="How many different ones there are")] = 1
    zipf: Annotated[float, Meta(ge=0, le=10, description="How much more often the first is drawn; 0: all alike")] = 0.0


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One class of requests in the mix."""

    name: Annotated[Name, Meta(description="In reports")]
    input: Annotated[Length, Meta(description="Tokens of the prompt, without what a chat template adds")]
    output: Annotated[Length, Meta(description="Tokens of the answer, as asked for")]
    weight: Annotated[float, Meta(gt=0, le=1e6, description="Share of the mix, relative to the others'")] = 1.0
    prefix: Annotated[Prefix, Meta(description="What prompts begin with together")] = Prefix()
    model: Annotated[str, Meta(description="Instead of the workload's: another model or a LoRA adapter")] = ""
    tenant: Annotated[str, Meta(description="Name of the key to send it with; empty: the default one")] = ""
    turns: Annotated[int, Meta(ge=1, le=1000, description="Of a conversation; each sends all that was said")] = 1
    turn_input: Annotated[int, Meta(ge=1, description="Tokens of each turn after the first")] = 32
    pause: Annotated[float, Meta(ge=0, le=3600, description="Seconds between an answer and the next turn")] = 0.0
    cancel_share: Annotated[float, Meta(ge=0, le=1, description="Part of the requests whose client leaves")] = 0.0
    cancel_after: Annotated[float, Meta(gt=0, le=3600, description="Seconds after which it leaves")] = 1.0


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="loop", tag="closed"):
    """A number of clients, each of which sends its next request when its last is answered."""

    concurrency: Annotated[int, Meta(ge=1, le=100_000, description="Clients")]
    requests: Annotated[int, Meta(ge=1, le=10_000_000, description="In all")]
    name: Annotated[str, Meta(description="In reports; made from the rest if empty")] = ""

    @property
    def label(self) -> str:
        return self.name or f"{self.concurrency} at once"


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="loop", tag="open"):
    """Requests that come when they come, however long others take."""

    arrivals: Annotated[Shape, Meta(description="Requests per second, over time")]
    seconds: Annotated[float, Meta(gt=0, le=1e6, description="How long")]
    cv: Annotated[float, Meta(ge=0, le=100, description="Burstiness: 0 even gaps, 1 Poisson, more in bursts")] = 1.0
    name: Annotated[str, Meta(description="In reports; made from the rest if empty")] = ""

    @property
    def label(self) -> str:
        return self.name or f"{self.arrivals.due(self.seconds) / self.seconds:.4g}/s"


Stage: TypeAlias = Closed | Open


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is needed to send the same load again."""

    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, description="Classes of requests")]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, description="One after the other")]
    model: Annotated[str, Meta(description="Name that requests carry; empty: the first one that the server lists")] = ""
    api: Annotated[Literal["chat", "completions"], Meta(description="Which endpoint")] = "chat"
    stream: Annotated[bool, Meta(description="Ask for streams")] = True
    exact_output: Annotated[
        bool, Meta(description="Ask engines to go on to the bound (`ignore_eos`), so that every run writes as much")
    ] = True
    temperature: Annotated[float, Meta(ge=0, le=2, description="Of sampling")] = 0.0
    warmup: Annotated[int, Meta(ge=0, le=100_000, description="Requests before the first stage, not counted")] = 4
    gap: Annotated[float, Meta(ge=0, le=3600, description="Seconds of silence between two stages")] = 1.0
    seed: Annotated[int, Meta(ge=0, description="Same seed: same bytes at the same moments")] = 1
    extra: Annotated[dict[str, Any], Meta(description="Further fields of every body")] = {}
