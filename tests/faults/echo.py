"""An engine that answers every path of the OpenAI API with something fixed, and keeps exactly what it was sent."""

import json
import re

from tests.faults.upstream import MODEL, USAGE, Call, completion

BINARY = bytes(range(256)) * 40 + b"\r\n0\r\n\r\n"
"""A body that would confuse a relay that looked into it."""

ITEM: dict[str, object] = {"id": "x", "object": "thing", "created": 1, "created_at": 1, "status": "completed"}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [],
    "parallel_tool_calls": False, "tool_choice": "auto", "tools": [], "unknown_field": {"kept": True},
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5,
              "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}  # fmt: skip
RESPONSE_STREAM = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":%b}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":1,'
    b'"item_id":"i","output_index":0,"content_index":0,"delta":"hi","logprobs":[]}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":%b}\n\n'
) % ((json.dumps(RESPONSE).encode(),) * 2)

DOCUMENTS: dict[str, object] = {
    "/v1/completions": {
        "id": "c", "object": "text_completion", "created": 1, "model": "m", "usage": USAGE,
        "choices": [{"index": 0, "text": "hello", "finish_reason": "stop", "logprobs": None}],
    },
    "/v1/embeddings": {
        "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}],
    },
    "/v1/responses": RESPONSE,
    "/v1/moderations": {"id": "x", "model": "m", "results": []},
    "/v1/images/generations": {"created": 1, "data": [{"b64_json": "aGVsbG8="}]},
    "/v1/images/edits": {"created": 1, "data": [{"url": "file"}]},
    "/v1/audio/transcriptions": {"text": "hello"},
    "/v1/audio/translations": {"text": "hello"},
}  # fmt: skip
LISTS = re.compile(r"/(files|batches|jobs|events|checkpoints|input_items|parts|vector_stores|models|messages)$")

HEADERS = (
    b"Content-Type: %b\r\nX-Weird:  spaced\tout  \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\n"
    b"X-RateLimit-Remaining-Tokens: 12\r\nX-Latin: caf\xe9\r\nopenai-processing-ms: 5\r\nServer: engine/1.0\r\n"
    b"Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: this connection only\r\nEmpty:\r\n"
)


async def echo(call: Call) -> None:
    """The answer depends on method, path and body alone, so it is the same by every way."""
    target = call.target.decode()
    path = target.partition("?")[0]
    if b'"stream":true' in call.body.replace(b" ", b""):
        body = RESPONSE_STREAM if path == "/v1/responses" else None
        if body is None:
            await call.answer("one two")
        else:
            await call.sse(*(body[at : at + 100] for at in range(0, len(body), 100)))
            await call.finish()
    elif path.endswith(("/content", "/speech")):
        await respond(call, b"application/octet-stream", BINARY)
    elif path == "/v1/raw":
        status = b"207 Multi Status" if call.body else b"200 OK"
        await respond(call, b"application/x-echo", call.method + b" " + call.target + b"\n" + call.body, status)
    elif path == "/v1/nothing":
        await call.send(b"HTTP/1.1 204 No Content\r\n" + HEADERS % b"text/plain" + b"\r\n")
    elif path == "/v1/teapot":
        refusal = b'{"error":{"message":"no","type":"t","param":"p","code":"c"}}'
        await respond(call, b"application/json", refusal, b"418 !")
    else:
        await respond(call, b"application/json", json.dumps(document(call.method, path)).encode())


def document(method: bytes, path: str) -> object:
    if path == "/v1/chat/completions" and method == b"POST":
        return completion("hello")
    if method == b"POST" and path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith("/v1/responses/"):
        return RESPONSE if not path.endswith("input_items") else listing()
    if method == b"GET" and (LISTS.search(path) or path == "/v1/chat/completions"):
        return listing()
    if path.startswith("/v1/models"):
        return MODEL | {"deleted": True}
    return ITEM | {"path": path, "deleted": method == b"DELETE"}


def listing() -> object:
    return {"object": "list", "data": [ITEM], "has_more": False, "first_id": "x", "last_id": "x"}


async def respond(call: Call, kind: bytes, body: bytes, status: bytes = b"200 OK") -> None:
    head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, HEADERS % kind, len(body))
    await call.send(head + (b"" if call.method == b"HEAD" else body))
