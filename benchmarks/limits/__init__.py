"""Proofs of what is said of tenants: shares, limits, budgets, books."""
