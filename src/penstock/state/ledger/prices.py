"""The price book's file."""

from pathlib import Path

from penstock.config.document import read
from penstock.policy.price.book import Book
from penstock.policy.price.document import book_of


def load_book(path: str) -> Book:
    """The book at `path`; no path: a book without prices. Raises ConfigError."""
    return book_of(read(Path(path)), path) if path else Book()
