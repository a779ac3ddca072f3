"""What a gateway costs: CPU, latency and memory of Penstock and of others, in the same run."""
