"""A load, described: classes of requests, and the stages in which they are sent."""

from pathlib import PurePath
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


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documents that stand between prefix and question, drawn anew for each prompt: chunks come again, prefixes do not,
    unless the order happens to be the same."""

    tokens: Annotated[int, Meta(ge=0, description="Of all documents of a prompt together; 0: none")] = 0
    documents: Annotated[int, Meta(ge=1, le=100_000, description="How many different ones there are")] = 1
    per_request: Annotated[int, Meta(ge=1, le=1000, description="How many a prompt holds, each once")] = 1
    zipf: Annotated[float, Meta(ge=0, le=10, description="How much more often the first is drawn; 0: all alike")] = 0.0

    def __post_init__(self) -> None:
        if self.per_request > self.documents:
            raise ValueError(
                f"per_request is {self.per_request} of {self.documents} documents; write at most {self.documents}"
            )
        if self.tokens % self.per_request:
            raise ValueError(
                f"tokens is {self.tokens}, which {self.per_request} documents cannot share evenly; write a multiple "
                f"of {self.per_request}"
            )


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One class of requests in the mix."""

    name: Annotated[Name, Meta(description="In reports")]
    input: Annotated[Length, Meta(description="Tokens of the prompt, without what a chat template adds")]
    output: Annotated[Length, Meta(description="Tokens of the answer, as asked for")]
    weight: Annotated[float, Meta(gt=0, le=1e6, description="Share of the mix, relative to the others'")] = 1.0
    prefix: Annotated[Prefix, Meta(description="What prompts begin with together")] = Prefix()
    context: Annotated[Context, Meta(description="Documents between prefix and question")] = Context()
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


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="loop", tag="replay"):
    """Requests at the moments and of the lengths of a trace; all else is as their class says."""

    file: Annotated[str, Meta(min_length=1, description="The trace; a relative path counts from the contract's folder")]
    format: Annotated[
        Literal["auto", "azure", "burstgpt", "mooncake", "records"],
        Meta(description="Of the file; auto: by its first line"),
    ] = "auto"
    speed: Annotated[float, Meta(gt=0, le=1e6, description="Times as fast as it was")] = 1.0
    seconds: Annotated[float, Meta(ge=0, le=1e8, description="How long, as replayed; 0: all of it")] = 0.0
    most_input: Annotated[int, Meta(ge=0, description="Longer prompts are cut to so many tokens; 0: none is")] = 0
    most_output: Annotated[int, Meta(ge=0, description="Longer answers are cut to so many tokens; 0: none is")] = 0
    block: Annotated[int, Meta(ge=1, le=1_000_000, description="Tokens that each of a row's hash ids stands for")] = 512
    sha256: Annotated[
        str,
        Meta(pattern=r"^([0-9a-f]{64})?$", description="Of the file, which must then be that one; filled in by a run"),
    ] = ""
    name: Annotated[str, Meta(description="In reports; made from the rest if empty")] = ""

    @property
    def label(self) -> str:
        return self.name or f"{PurePath(self.file).name} at {self.speed:g}x"


Stage: TypeAlias = Closed | Open | Replay


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
