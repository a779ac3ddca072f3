"""What a request asks of an engine, read from its bytes."""

from penstock.config.routing import Routing
from penstock.core.request import Request
from penstock.core.tenant import Principal
from penstock.policy.identity.access import ANYBODY
from penstock.policy.route.facts import Ask
from penstock.policy.route.prefix import prompt_chain
from penstock.wire.openai import BYTES_PER_TOKEN, Call
from penstock.wire.prompt import has_prompt, prompt_from

SOLE = Ask("")
"""Stands for every request that has no choice: nothing of it is read."""
USUAL_OUTPUT = 256
"""Tokens an answer is taken to have when the client sets no bound."""
PATIENCE = b"x-stainless-read-timeout"
"""Header in which OpenAI's SDKs tell how long they will wait."""


class AskReader:
    """Makes the Ask of a request that several engines could answer."""

    def __init__(self, routing: Routing) -> None:
        self._block_bytes = routing.block_bytes
        self.bytes_per_token = float(BYTES_PER_TOKEN)
        """As answers of late have it; whoever hears them sets it."""
        self._session = routing.session_header.lower().encode()
        self._priority = routing.priority_header.lower().encode()
        self.noted = frozenset({self._session, self._priority, PATIENCE})
        """Headers it wants noted in `request.special`."""

    def read(
        self, request: Request, call: Call, principal: Principal = ANYBODY, *, choice: bool = True, pool: str = ""
    ) -> Ask:  # fmt: skip
        """What `request`, whose fields are `call`, asks for, of a `pool` if one is named. A caller of the directory may
        lower its priority only.

        Without a `choice` of engines the prompt is not hashed.
        """
        model = call.model or ""
        chain: tuple[int, ...] = ()
        size = request.bytes_in
        if choice and size > self._block_bytes and has_prompt(request.path):
            prompt = prompt_from(call)
            size = len(prompt)
            if size >= self._block_bytes:
                chain = prompt_chain(prompt, self._block_bytes, model)
        most = call.most_output
        special = request.special
        session = special.get(self._session)
        priority = special.get(self._priority)
        return Ask(
            model,
            chain,
            int(size / self.bytes_per_token),
            min(most, 4 * USUAL_OUTPUT) if most else USUAL_OUTPUT,
            session.decode("latin-1") if session else "",
            _priority(priority, principal) if priority or principal.priority else 0,
            pool,
        )


def _priority(stated: bytes | None, principal: Principal) -> int:
    """What the header says, within what the caller may have: its team's priority, where it is of one."""
    wanted = whole_number(stated) if stated else principal.priority
    return min(wanted, principal.priority) if principal.tenant.org else wanted


def whole_number(value: bytes) -> int:
    """A small whole number, 0 where there is none: a priority is no reason to refuse a request."""
    try:
        return max(-1000, min(1000, int(value))) if len(value) <= 5 and value else 0
    except ValueError:
        return 0
