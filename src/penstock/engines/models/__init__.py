"""Where model files come from, and how they are kept: references, sources, downloads, the store."""
