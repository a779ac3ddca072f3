"""Measurements of Penstock against others, each regenerating a file below results/."""
