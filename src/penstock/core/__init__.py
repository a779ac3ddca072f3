"""Vocabulary that crosses every boundary. Imports nothing of Penstock, does no I/O."""
