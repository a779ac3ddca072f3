"""The clocks. Everything that decides takes `now` as a parameter; only edges read a clock.

`monotonic` measures (seconds, arbitrary origin, never runs back); `wall` dates (seconds since the epoch); `spent` is
the CPU time of this process (seconds).
"""

import time
from collections.abc import Callable

type_of_clock = Callable[[], float]

monotonic: type_of_clock = time.perf_counter
wall: type_of_clock = time.time
spent: type_of_clock = time.process_time
