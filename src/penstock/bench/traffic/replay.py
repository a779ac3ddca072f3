"""How a trace is made to fit, and what is said of it."""

import msgspec

from penstock.bench.traffic.traces.row import Row
from penstock.bench.traffic.traces.trace import Trace
from penstock.bench.traffic.workload import Replay


class Cut(msgspec.Struct):
    """Requests that are not as long as in the trace."""

    inputs: int = 0
    outputs: int = 0
    lengthened: int = 0


def cut(row: Row, stage: Replay, found: Cut) -> tuple[int, int]:
    """(input, output) tokens of a row within the bounds of its stage; counts what was cut."""
    given = min(row.input_tokens, stage.most_input or row.input_tokens)
    wanted = min(row.output_tokens, stage.most_output or row.output_tokens)
    found.inputs += given < row.input_tokens
    found.outputs += wanted < row.output_tokens
    return given, wanted


def said(stage: Replay, trace: Trace, found: Cut) -> list[str]:
    """A sentence on what is replayed and what of it differs from the trace."""
    parts = [f"{len(trace.rows)} requests of a trace in the format {trace.form}"]
    if trace.left_out:
        parts.append(f"{trace.left_out} rows of the file without tokens of input or output left out")
    if found.inputs:
        parts.append(f"{found.inputs} prompts cut to {stage.most_input} tokens")
    if found.outputs:
        parts.append(f"{found.outputs} answers cut to {stage.most_output} tokens")
    if found.lengthened:
        parts.append(f"{found.lengthened} prompts lengthened to hold prefix and context")
    return [f"{stage.label}: {', '.join(parts)}."]
