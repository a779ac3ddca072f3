"""What each quantity is, for one request. docs/measures.md says the same in words, with how other tools define it."""

from penstock.bench.sample import Ending, Sample


def ttft(sample: Sample) -> float | None:
    """Time to first token, seconds, from when the request was due: waiting in the client is waiting."""
    return sample.first - sample.due if sample.first else None


def ttft_from_sent(sample: Sample) -> float | None:
    """The same from when it was sent: what tools report that do not keep a timetable."""
    return sample.first - sample.sent if sample.first else None


def tpot(sample: Sample) -> float | None:
    """Time per output token after the first (vLLM, MLPerf): (last - first) / (output tokens - 1). None of an answer
    with fewer than two tokens."""
    if sample.output_tokens < 2 or not sample.last:
        return None
    return (sample.last - sample.first) / (sample.output_tokens - 1)


def tpot_with_first(sample: Sample) -> float | None:
    """Time per output token, the first one included (GuideLLM): (last - sent) / output tokens."""
    return (sample.last - sample.sent) / sample.output_tokens if sample.output_tokens and sample.last else None


def itl_mean(sample: Sample) -> float | None:
    """Mean time between pieces of one answer (AIPerf reports percentiles of this; vLLM pools the gaps of all)."""
    return sum(sample.gaps) / len(sample.gaps) if sample.gaps else None


def e2e(sample: Sample) -> float | None:
    """End to end, seconds, from due to the last byte; of whole answers."""
    return sample.ended - sample.due if sample.ending is Ending.OK else None


def normalised(sample: Sample) -> float | None:
    """End to end by output token (Orca; Sarathi's and vLLM's papers), seconds."""
    whole = e2e(sample)
    return whole / sample.output_tokens if whole is not None and sample.output_tokens else None


def lag(sample: Sample) -> float:
    """Schedule delay: how much later it was sent than it was due."""
    return max(0.0, sample.sent - sample.due)
