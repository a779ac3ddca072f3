"""Stores of limits, and the keeper that speaks with one for a replica."""
