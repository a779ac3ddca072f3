"""Samples to figures, by definitions that are written once (docs/measures.md)."""
