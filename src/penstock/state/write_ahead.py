"""SQLite's write-ahead log, switched on by several processes at once: readers never wait for the writer."""

import sqlite3
import time

RETRY_S = 0.01


def write_ahead(connection: sqlite3.Connection, wait_s: float) -> None:
    """Switches the file of `connection` to a write-ahead log.

    Raises sqlite3.OperationalError when others have held the file for `wait_s`. SQLite itself waits for nobody here:
    who switches has read the file already, and two of them that both went on to write would wait for each other
    (https://sqlite.org/c3ref/busy_handler.html), so it lets all but one fail at once.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(RETRY_S)
        else:
            return
