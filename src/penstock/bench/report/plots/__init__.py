"""Which plots there are, by kind: latency against throughput, distributions, time, change."""
