"""What lives in a worker's memory, by type."""

import gc
import os
from collections import Counter
from time import perf_counter


def objects(most: int) -> dict[str, object]:
    """Live objects that the collector tracks, the `most` frequent types first.

    The collector knows neither strings, bytes and numbers nor what was there before the worker took requests and is
    frozen: what is counted here is what came since. One pass over all of it, about 0.1 µs an object, in which the
    worker does nothing else.
    """
    began = perf_counter()
    counts = Counter(map(type, gc.get_objects()))
    return {
        "worker": os.getpid(),
        "objects": counts.total(),
        "took_s": perf_counter() - began,
        "types": [
            {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), "count": count}
            for kind, count in counts.most_common(most)
        ],
    }
