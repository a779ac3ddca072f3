"""Engines that somebody else starts: where they are now, by whichever means that is known."""
