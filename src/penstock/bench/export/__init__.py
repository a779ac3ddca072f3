"""Figures under the names, units and definitions of other tools (docs/measures.md has them side by side)."""
