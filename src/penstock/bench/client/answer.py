"""What is read of an answer's body, with as little work as timing needs."""

import json
from typing import Any

CONTENT = {
    "/v1/chat/completions": (b'"content":"', b'"reasoning_content":"', b'"reasoning":"', b'"arguments":"'),
    "/v1/completions": (b'"text":"',),
}
"""How content is spelt in the events of servers that write compact JSON; the events of others are decoded."""
USAGE = b'"usage":{'
DONE = b"data: [DONE]"
END = b"\n\n"


class Events:
    """The events of one stream, `path` being what was asked. With `keep` their text is kept."""

    __slots__ = ("_keep", "_marks", "_rest", "_texts", "done", "error", "usage")

    def __init__(self, path: str, *, keep: bool) -> None:
        self._marks = CONTENT.get(path, ())
        self._rest = b""
        self._keep = keep
        self._texts: list[str] = []
        self.usage: dict[str, Any] = {}
        self.done = False
        """The stream has said that it is over."""
        self.error = ""
        """Code or message of an error inside the stream."""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def feed(self, piece: bytes) -> int:
        """How many of the events that `piece` completes have content."""
        if piece.find(b"\r") >= 0:  # `in` first takes bytes as a number, and drops the error that this raises
            piece = piece.replace(b"\r\n", b"\n")
        if self._rest:
            piece = self._rest + piece
        whole, end, self._rest = piece.rpartition(END)
        if not end:
            return 0
        if whole.find(END) < 0:
            return self._look(whole)
        return sum(map(self._look, whole.split(END)))

    def _look(self, event: bytes) -> int:
        for mark in self._marks:
            at = event.find(mark)
            if at >= 0:
                filled = event[at + len(mark)] != 34  # a quote: an empty text
                if self._keep or event.find(USAGE) >= 0:
                    self._decode(event)
                if filled:
                    return 1
        if not event or event[0] == 58:  # a comment
            return 0
        if event.startswith(DONE):
            self.done = True
            return 0
        empty = b'": ' not in event and any(mark[:-1] in event for mark in self._marks)
        if empty and USAGE not in event:
            return 0  # an empty text, or null
        return self._decode(event)

    def _decode(self, event: bytes) -> int:
        """Reads an event as JSON; 1 when it has content that the marks did not show."""
        lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        try:
            found = json.loads(b"\n".join(lines))
        except ValueError:
            return 0
        if not isinstance(found, dict):
            return 0
        if found.get("error"):
            self.error = _code_of(found)
        self.usage = _usage_of(found) or self.usage
        kind = found.get("type")
        if kind in ("response.completed", "message_stop"):
            self.done = True
        text = _text_of(found)
        if text and self._keep:
            self._texts.append(text)
        return 1 if text else 0


def _text_of(event: dict[str, Any]) -> str:
    """Content of an event of chat, completions, responses or messages."""
    delta = event.get("delta")
    if isinstance(delta, str):  # responses
        return delta
    if isinstance(delta, dict):  # messages
        return str(delta.get("text") or delta.get("thinking") or delta.get("partial_json") or "")
    for choice in event.get("choices") or ():
        said = choice.get("delta") or choice.get("message") or {}
        for name in ("content", "reasoning_content", "reasoning"):
            if said.get(name):
                return str(said[name])
        for call in said.get("tool_calls") or ():
            if (call.get("function") or {}).get("arguments"):
                return str(call["function"]["arguments"])
        if choice.get("text"):
            return str(choice["text"])
    return ""


def _usage_of(found: dict[str, Any]) -> dict[str, Any]:
    usage = found.get("usage")
    if not usage and isinstance(found.get("response"), dict):
        usage = found["response"].get("usage")
    return usage if isinstance(usage, dict) else {}


def _code_of(found: dict[str, Any]) -> str:
    error = found.get("error")
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or error.get("message") or "error")[:200]
    return str(error)[:200]


def whole(body: bytes) -> tuple[dict[str, Any], str, str]:
    """(usage, text, error) of an answer in one piece. Raises ValueError when it is no JSON object."""
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return _usage_of(found), _text_of(found), _code_of(found) if found.get("error") else ""


def counts(usage: dict[str, Any]) -> tuple[int, int, int]:
    """(input, output, cached) tokens of a usage object of any of the APIs; zeros where it is silent."""
    given = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    made = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = details.get("cached_tokens") or usage.get("cache_read_input_tokens") or 0
    return int(given), int(made), int(cached)
