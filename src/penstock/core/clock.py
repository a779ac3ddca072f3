"""The two clocks. Everything that decides takes `now` as a parameter; only edges read a clock.

`monotonic` measures (seconds, arbitrary origin, never runs back); `wall` dates (seconds since the epoch).
"""

import time
from collections.abc import Callable

type_of_clock = Callable[[], float]

monotonic: type_of_clock = time.perf_counter
wall: type_of_clock = time.time
