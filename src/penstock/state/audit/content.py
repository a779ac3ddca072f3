"""Bodies as the log keeps them: their text without secrets, or their size and digest. Pure."""

from hashlib import sha256

import msgspec

from penstock.state.audit.redact import Redactor

TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "text")
"""Parts of a streamed choice that are pieces of one text (OpenAI chat and completions, vLLM)."""


class Content:
    """`most`: bytes; a longer body, and one that is neither JSON nor a stream of it, is kept as size and digest."""

    def __init__(self, redactor: Redactor, most: int) -> None:
        self._redactor = redactor
        self._most = most

    def of(self, body: bytes) -> object:
        """None for no body; else JSON."""
        if not body:
            return None
        if len(body) <= self._most:
            try:
                return self._redactor.value(_document(body))
            except (ValueError, RecursionError):
                pass
        return {"bytes": len(body), "sha256": sha256(body).hexdigest()}


def _document(body: bytes) -> object:
    """What a body says. Raises ValueError for one that is not read."""
    if body[:1] in b"{[":
        document: object = msgspec.json.decode(body)
        return document
    events = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not events:
        raise ValueError("neither JSON nor events")
    return _joined([msgspec.json.decode(event) for event in events if event != b"[DONE]"])


def _joined(events: list[object]) -> dict[str, object]:
    """A stream as one document. Pieces of a text are put together: a secret is rarely inside one of them."""
    texts: dict[str, str] = {}
    rest: list[object] = []
    for event in events:
        choices = event.get("choices") if isinstance(event, dict) else None
        if not isinstance(choices, list) or not all(_collect(choice, texts) for choice in choices):
            rest.append(event)
    return {"texts": texts, "events": len(events)} | ({"other": rest} if rest else {})


def _collect(choice: object, texts: dict[str, str]) -> bool:
    """Adds the pieces of a choice to their texts. False when it holds something else, which is then kept whole."""
    if not isinstance(choice, dict):
        return False
    index = choice.get("index", 0)
    delta = choice.get("delta", choice)
    if not isinstance(delta, dict):
        return False
    for name in TEXTS:
        if isinstance(piece := delta.get(name), str):
            place = f"{index}.{name}"
            texts[place] = texts.get(place, "") + piece
    calls = delta.get("tool_calls") or []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            place = f"{index}.tool_calls.{call.get('index', 0)}"
            texts[place] = texts.get(place, "") + str(function.get("name") or "") + str(function.get("arguments") or "")
    return True
