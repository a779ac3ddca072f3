"""What survives a restart: keys, limits, ledger, audit log.

Everything starts with no server: files and SQLite in the data folder. Redis and PostgreSQL are chosen by URL, and each
of their clients is imported in one place. Nothing here is called while a request waits for it, except where a limit's
local share is used up.
"""
