"""The load that never changes, its baselines, and the verdict on two sets of runs."""
