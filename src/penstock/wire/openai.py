"""The OpenAI dialect (and its Anthropic neighbour): what is read of a request, tokens of an answer, error bodies.

Nothing here validates a request: unknown fields and endpoints are the engine's business.
Error shape: {"error": {"message", "type", "param", "code"}}, all four present (openai-openapi 2.3.0).
"""

import re

import msgspec

from penstock.core.errors import BadRequest, RequestError
from penstock.core.record import Usage
from penstock.core.request import Request
from penstock.wire import multipart
from penstock.wire.prompt import PromptFields

BYTES_PER_TOKEN = 4
"""English text over a byte-pair vocabulary; used only where an engine reports nothing, and marked so."""

OBJECT = re.compile(rb"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})")
CONTENT = re.compile(rb'"(?:content|text|reasoning_content|reasoning|delta|arguments|partial_json)":\s*"[^"]')


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Call(PromptFields):
    """The fields of a request body that the gateway reads, and where its prompt is."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def most_output(self) -> int:
        """Bound on output tokens that the client set, under whichever name; 0 without one."""
        most = self.max_completion_tokens or self.max_tokens or self.max_output_tokens or 0
        return most if most > 0 else 0

    @property
    def reports_usage(self) -> bool:
        """The client asked for the usage chunk, so tokens need not be counted on the way."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


_decode_call = msgspec.json.Decoder(Call).decode
NO_CALL = Call()


def read_call(request: Request) -> Call:
    """Model and stream flag of a request body. Raises BadRequest for JSON that cannot be read."""
    body = request.body
    if not body:
        return NO_CALL
    if body[:1] == b"{":
        try:
            return _decode_call(body)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$.")
            field = where.rstrip("`") or None
            raise BadRequest(f"{field or 'body'}: {message}", param=field) from None
        except msgspec.DecodeError as error:
            if not _says_json(request):
                return NO_CALL  # JSON lines, a form: what it is, is the engine's business
            raise BadRequest(f"The body is not valid JSON: {error}") from None
        except UnicodeDecodeError:
            raise BadRequest("The body is not valid JSON: it is not UTF-8.") from None
        except RecursionError:
            raise BadRequest("The body is nested too deeply to be read.") from None
    if body.startswith(b"--"):
        return Call(model=multipart.model_of(body) or None)
    if body[:1].isspace() and body.lstrip()[:1] == b"{":
        return read_call_of(body.lstrip(), request)
    return NO_CALL


def with_model(body: bytes, model: str) -> bytes:
    """The body with another model; every other field keeps its bytes. Raises msgspec.MsgspecError for no object."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def _says_json(request: Request) -> bool:
    """Whether the request calls its body JSON; one that does not say is taken to."""
    for line in request.headers:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-type":
            return b"json" in value.lower() and b"jsonl" not in value.lower() and b"ndjson" not in value.lower()
    return True


def read_call_of(body: bytes, request: Request) -> Call:
    """`read_call` for a body whose leading white space is gone; the request keeps its own bytes."""
    kept, request.body = request.body, body
    try:
        return read_call(request)
    finally:
        request.body = kept


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Reported(msgspec.Struct):
    """`usage` as OpenAI chat, OpenAI responses and Anthropic messages spell it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


NOTHING_REPORTED = _Reported()
"""An object under another's key: a JSON schema may describe a field `usage`."""
_decode_usage = msgspec.json.Decoder(_Reported).decode


def find_usage(text: bytes) -> Usage | None:
    """Tokens reported in the last `usage` object of an answer, or None.

    A quote inside a JSON string is always escaped, so the bytes `"usage":{` without a backslash before them are a key.
    """
    end = len(text)
    while (at := text.rfind(b'"usage"', 0, end)) >= 0:
        end = at
        if text[at - 1 : at] != b"\\" and (found := _object_after(text, at + 7)):
            try:
                reported = _decode_usage(found)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if reported != NOTHING_REPORTED:
                return _usage(reported)
    return None


def _object_after(text: bytes, at: int) -> bytes:
    """The JSON object behind a key that ends at `at`, or b"". Numbers and small objects alone, as usage is."""
    if text[at : at + 2] == b":{":
        end = text.find(b"}", at) + 1
        if end and text.find(b"{", at + 2, end) < 0:
            return text[at + 1 : end]
    match = OBJECT.match(text, at)
    return match[1] if match is not None else b""


def _usage(reported: _Reported) -> Usage:
    if reported.prompt_tokens is not None or reported.completion_tokens is not None:
        read, written = reported.prompt_tokens_details, reported.completion_tokens_details
        return Usage(
            reported.prompt_tokens or 0,
            reported.completion_tokens or 0,
            (read.cached_tokens if read else 0) or 0,
            (written.reasoning_tokens if written else 0) or 0,
        )
    read, written = reported.input_tokens_details, reported.output_tokens_details
    # Anthropic counts tokens read from and written to its cache apart from input_tokens.
    cached = reported.cache_read_input_tokens or 0
    return Usage(
        input_tokens=(reported.input_tokens or 0) + cached + (reported.cache_creation_input_tokens or 0),
        output_tokens=reported.output_tokens or 0,
        cached_tokens=cached or (read.cached_tokens if read else 0) or 0,
        reasoning_tokens=(written.reasoning_tokens if written else 0) or 0,
    )


def merge(first: Usage | None, last: Usage | None) -> Usage | None:
    """Usage told in two parts of one stream (Anthropic: input at the start, output at the end)."""
    if first is None or last is None:
        return last or first
    return Usage(
        input_tokens=max(first.input_tokens, last.input_tokens),
        output_tokens=max(first.output_tokens, last.output_tokens),
        cached_tokens=max(first.cached_tokens, last.cached_tokens),
        reasoning_tokens=max(first.reasoning_tokens, last.reasoning_tokens),
    )


def count_content(piece: bytes) -> int:
    """Stream events of a piece that carry text: about one token each on vLLM, SGLang and llama.cpp."""
    found = piece.count(b'"content":"')
    # `find`: of bytes, `in` first takes what it looks for as a number, and drops the error that this raises.
    if found and piece.find(b'"content":""') < 0 and piece.find(b"reasoning") < 0:
        return found
    return len(CONTENT.findall(piece))


def error_body(error: RequestError, *, anthropic: bool = False) -> bytes:
    """The JSON body of an error. Anthropic's messages endpoint wraps it in `{"type": "error"}`."""
    inner = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"type": "error", "error": inner} if anthropic else {"error": inner})
