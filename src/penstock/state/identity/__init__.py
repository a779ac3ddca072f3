"""Tenants and their keys, where they survive a restart; and JSON Web Tokens as a second way in."""
