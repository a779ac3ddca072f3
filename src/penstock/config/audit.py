"""What is written to the audit log, and what happens when it cannot be."""

from typing import Annotated, Literal

from msgspec import Meta, field

from penstock.config.section import Section

Secret = Literal["email", "card", "phone", "api_key", "bearer", "assigned"]
"""Secrets that are found by rules of their own; docs/audit.md says what each finds."""

EVERY_SECRET: tuple[Secret, ...] = ("email", "card", "phone", "api_key", "bearer", "assigned")


class Audit(Section, frozen=True):
    """The hash-chained log of admin actions and requests. docs/audit.md says what it proves."""

    requests: Annotated[
        Literal["off", "metadata", "content"],
        Meta(description="Requests in the log: none, their Records, or with prompts and answers, redacted"),
    ] = "off"
    when_full: Annotated[
        Literal["refuse", "count"],
        Meta(description="A log that cannot be written: refuse requests, or serve them and count what is missing"),
    ] = "refuse"
    key_file: Annotated[
        str, Meta(description="File with 32 or more random bytes; each line is then signed with it (HMAC-SHA-256)")
    ] = ""
    content_bytes: Annotated[
        int, Meta(ge=0, le=16 * 1024 * 1024, description="Longest body logged as content; of others size and digest")
    ] = 64 * 1024
    redact: Annotated[
        tuple[Secret, ...], Meta(description="Secrets that are taken out of content before it is written")
    ] = EVERY_SECRET
    patterns: Annotated[
        dict[str, str], Meta(description="More of them: name -> regular expression; keep it free of nested repeats")
    ] = field(default_factory=dict)
