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

STANDSTILL_S = 1.0
"""A timer that is so late tells that its process did not run: stopped, starved, or moved to another machine. What came
meanwhile lies unread, so no peer is to be blamed for its silence."""
