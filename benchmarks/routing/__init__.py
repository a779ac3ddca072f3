"""Routing policies and rival routers in front of the same real engines."""
