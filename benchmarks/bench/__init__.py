"""Proofs of `penstock bench`: that it tells the truth, and how much load one core of it sends."""
