"""Which paths reach an engine. Engines also serve paths for their operators (metrics, slots, adapters, sleep); API
clients are no operators."""

import re

from penstock.core.errors import BadRequest, NotFound

BESIDE_V1 = frozenset({b"/tokenize", b"/detokenize"})
OPERATORS = frozenset({b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter"})
"""Paths below /v1/ by which whoever may call them decides what an engine loads."""
COMPUTING = BESIDE_V1 | {
    b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings", b"/v1/responses", b"/v1/messages", b"/v1/rerank"
}  # fmt: skip
"""POST endpoints that only compute: to ask twice changes nothing. An upload or a batch is not sent twice."""
PLAIN = COMPUTING | {b"/v1/models"}
"""What most requests ask for; there is nothing to check."""
ENCODED = re.compile(rb"%2e|%2f|%5c", re.IGNORECASE)


def check_path(path: bytes) -> None:
    """Raises NotFound for a path outside the API, BadRequest for one that an engine might read as another path."""
    plain = ENCODED.sub(lambda found: bytes.fromhex(found[0][1:].decode()), path).replace(b"\\", b"/")
    if any(segment in (b".", b"..") for segment in plain.split(b"/")):
        raise BadRequest("The path has `.` or `..` segments; write it without.")
    inside = path.startswith(b"/v1/") and plain.rstrip(b"/") not in OPERATORS
    if not inside and path not in BESIDE_V1:
        shown = path.decode("latin-1")
        raise NotFound(
            f"{shown!r:.200} is not served; the API is below /v1/, with /tokenize and /detokenize beside it."
        )
