"""A lively fake fleet, a fake API that streams, and headless Chromium to look at them."""

import asyncio
import random
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from penstock.core.clock import monotonic
from penstock.gateway.admin.app import create_admin
from penstock.gateway.admin.settings import AdminSettings
from penstock.gateway.admin.state import Buckets, Costs, Fairness, Limits, Totals
from penstock.gateway.admin.timeline import Timeline
from tests.console.tenancy import Tenancy, demo_costs, demo_fairness, demo_limits

HISTORY_S = 300
TTFT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.4, 0.5, 1.0, 2.0)
ITL = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ANSWER = (
    "A penstock is the gated pipe that carries water from a reservoir down to the turbines. "
    "The gate meters the flow: too little and the turbine stalls, too much and it overspeeds.\n\n"
    "<b>Markup</b> from a model is shown as text, never run."
)


class DemoState:
    """Five minutes of made-up traffic, the same each time; attributes are the levers of the tests."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.reasons: list[str] = []
        self.open = True
        self.quiet = False
        self.missing: list[str] = []
        self.judgements: list[dict[str, object]] = []
        self.records = demo_records(time.time())
        self.asked: list[str] = []
        self.tenants = False
        self.kept_limits: Limits | None = None
        self.kept_costs: Callable[[str, int], Costs] | None = None
        self.kept_fairness: Fairness | None = None
        self._start = monotonic()
        self._history = demo_totals()

    def timeline(self) -> Timeline:
        """One that has seen the history."""
        timeline = Timeline()
        for second, totals in enumerate(self._history[: HISTORY_S + 1]):
            timeline.observe(self._start - HISTORY_S + second, totals)
        return timeline

    async def metrics(self) -> bytes:
        return b""

    def ready(self) -> tuple[bool, list[str]]:
        return not self.reasons, self.reasons

    def engines(self) -> list[dict[str, object]]:
        self.asked.append("engines")
        if self.quiet:
            return []
        now = time.time()
        return [
            {
                "name": "local", "kind": "llamacpp", "state": "ready", "address": "http://127.0.0.1:41873",
                "models": ["SmolLM2-135M-Instruct"], "in_flight": 2, "restarts": 0, "since": now - 11_520,
                "last_error": None, "pid": 20481, "version": "b6715",
                "load": demo_load(running=2.0, missing=self.missing),
            },
            {
                "name": "vllm-a", "kind": "http", "state": "ready", "address": "http://10.4.0.11:8000",
                "models": ["Qwen3-8B", "Qwen3-8B-sql"], "in_flight": 1, "restarts": None, "since": now - 86_400 * 3,
                "last_error": None, "pid": None, "version": "0.33.0",
                "load": demo_load(running=1.0, kv_utilisation=0.414),
            },
            {
                "name": "vllm-b", "kind": "http", "state": "unreachable", "address": "http://10.4.0.12:8000",
                "models": ["Qwen3-8B"], "in_flight": 0, "restarts": None, "since": now - 74,
                "last_error": "connect to 10.4.0.12:8000 refused", "pid": None, "version": None,
                "load": None,
            },
        ]  # fmt: skip

    async def requests(self, limit: int) -> list[dict[str, object]]:
        return [] if self.quiet else self.records[:limit]

    async def why(self, request_id: str) -> dict[str, object] | None:
        return None

    async def health(self) -> list[dict[str, object]]:
        return self.judgements

    async def live(self) -> list[dict[str, object]]:
        if self.quiet:
            return []
        age = monotonic() - self._start
        chat = "/v1/chat/completions"
        rows = [
            ("req_81c0", "SmolLM2-135M-Instruct", "local", chat, True, 3.2, True),
            ("req_81c2", "SmolLM2-135M-Instruct", "local", chat, True, 1.1, True),
            ("req_81c3", "Qwen3-8B", "vllm-a", "/v1/messages", True, 0.2, False),
        ]
        names = ("id", "model", "engine", "path", "stream", "age_s", "first_byte")
        return [
            dict(zip(names, row, strict=True)) | {"age_s": row[5] + age, "events": int((row[5] + age) * 47 * row[6])}
            for row in rows
        ]

    def limits(self) -> Limits | None:
        self.asked.append("limits")
        return self.kept_limits

    async def costs(self, by: str, days: int) -> Costs | None:
        self.asked.append(f"costs by {by}")
        return None if self.kept_costs is None else self.kept_costs(by, days)

    async def fairness(self) -> Fairness | None:
        return self.kept_fairness

    def totals(self) -> Totals:
        if self.quiet:
            return demo_totals()[0]
        elapsed = min(int(monotonic() - self._start), HISTORY_S)
        return self._history[HISTORY_S + elapsed]

    def about(self) -> dict[str, object]:
        return {
            "version": "0.1.0", "api": self.api, "models": ["SmolLM2-135M-Instruct", "Qwen3-8B", "Qwen3-8B-sql"],
            "workers": 2, "uptime_s": 11_530.0, "open": self.open, "tenants": self.tenants,
        }  # fmt: skip


def demo_load(
    running: float, kv_utilisation: float | None = None, missing: Sequence[str] = (), age_s: float = 0.4
) -> dict[str, object]:
    """An engine's word on its load, as /admin/engines gives it."""
    waiting = None if "waiting" in missing else 0.0
    return {
        "running": running, "waiting": waiting, "kv_utilisation": kv_utilisation, "missing": missing, "age_s": age_s,
    }  # fmt: skip


def demo_totals() -> list[Totals]:
    """One reading per second: a slow swell of traffic with a pause in it."""
    rng = random.Random(7)
    totals = Totals(0, 0, 0, 0, 0, 3, 5, Buckets(TTFT, (0,) * 11), Buckets(ITL, (0,) * 8))
    series = [totals]
    load = 12.0
    for second in range(2 * HISTORY_S):
        load = max(4.0, load + rng.uniform(-1.4, 1.45))
        n = 0 if 140 <= second < 152 else int(load + rng.uniform(-2, 2))
        ttft, itl = list(totals.ttft.counts), list(totals.itl.counts)
        for _ in range(n):
            ttft[min(10, max(0, int(rng.gauss(3.2 + load / 40, 0.9))))] += 1
            itl[min(7, max(0, int(rng.gauss(3.4, 0.8))))] += 40
        totals = replace(
            totals,
            requests=totals.requests + n,
            errors=totals.errors + (rng.random() < 0.03),
            events=totals.events + 41 * n,
            ttft=Buckets(TTFT, tuple(ttft)),
            itl=Buckets(ITL, tuple(itl)),
        )
        series.append(totals)
    return series


def demo_records(now: float) -> list[dict[str, object]]:
    """Forty finished requests, most of them well."""
    rng = random.Random(11)
    outcomes = {
        3: ("client_left", 499, "client_left"), 7: ("upstream_failed", 502, "upstream_reset"),
        12: ("rejected", 429, "rate_limited"), 19: ("timed_out", 504, "first_byte_timeout"),
        26: ("unavailable", 503, "engine_unavailable"),
    }  # fmt: skip
    records: list[dict[str, object]] = []
    then = now - 1
    for index in range(40):
        outcome, status, error = outcomes.get(index, ("success", 200, ""))
        local = rng.random() < 0.6
        then -= rng.uniform(0.4, 3)
        answered = outcome in ("success", "client_left", "upstream_failed")
        out = rng.randint(20, 240) if answered else 0
        ttft = rng.uniform(0.03, 0.4) if answered else None
        gap = rng.uniform(0.006, 0.024)
        records.append({
            "id": f"req_{0x81BF - index:04x}", "time": then, "method": "POST",
            "path": "/v1/chat/completions", "model": "SmolLM2-135M-Instruct" if local else "Qwen3-8B",
            "engine": ("local" if local else "vllm-a") if outcome != "rejected" else "", "stream": True,
            "status": status, "outcome": outcome, "error": error, "ttft_s": ttft,
            "tpot_s": gap if answered else None,
            "duration_s": 30.0 if outcome == "timed_out" else (ttft or 0.0007) + gap * out,
            "itl": {"count": max(0, out - 1), "mean_s": gap, "max_s": gap * 4},
            "input_tokens": rng.randint(30, 900), "output_tokens": out, "cached_tokens": 16,
            "tokens_source": "usage" if answered else "none", "bytes_in": rng.randint(300, 4000),
            "bytes_out": 210 * out, "attempts": [{"engine": "local" if local else "vllm-a", "started_s": 0.0004}],
        })  # fmt: skip
    return records


class FakeApi:
    """Streams `ANSWER` word by word; remembers what it was asked."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.authorizations: list[str | None] = []
        self.pause_s = 0.004
        self.error: tuple[int, str] | None = None
        self.left = threading.Event()

    def app(self) -> ASGIApp:
        return Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.authorizations.append(request.headers.get("authorization"))
        if self.error:
            status, message = self.error
            return JSONResponse({"error": {"message": message, "type": "x", "param": None, "code": "y"}}, status)
        return StreamingResponse(self.stream(), media_type="text/event-stream")

    async def stream(self) -> AsyncIterator[bytes]:
        words = ANSWER.split(" ")
        try:
            await asyncio.sleep(0.06)
            for index, word in enumerate(words):
                piece = word if index == 0 else f" {word}"
                yield event({"choices": [{"index": 0, "delta": {"content": piece}}]})
                await asyncio.sleep(self.pause_s)
            yield event({"choices": [], "usage": {"completion_tokens": 64, "prompt_tokens": 20}})
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left.set()
            raise


def event(body: dict[str, object]) -> bytes:
    return b"data: " + JSONResponse(body).body + b"\n\n"


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """`app` under uvicorn in a thread of its own; gives its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One per module: while it lives, Playwright's loop runs in this thread and no test may start its own."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("these tests need Chromium: apt-get install chromium (Debian package 'chromium')")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served_api() -> Iterator[tuple[FakeApi, str]]:
    api = FakeApi()
    with serving(api.app()) as url:
        yield api, url


@pytest.fixture
def api(served_api: tuple[FakeApi, str]) -> FakeApi:
    served_api[0].reset()
    return served_api[0]


@pytest.fixture
def api_url(api: FakeApi, served_api: tuple[FakeApi, str]) -> str:
    return served_api[1]


@pytest.fixture
def state() -> DemoState:
    return DemoState("http://127.0.0.1:8080")


type_of_serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serve(state: DemoState, api_url: str) -> type_of_serve:
    @contextmanager
    def _serve(token: str = "", **more: Any) -> Iterator[str]:
        app = create_admin(state, AdminSettings(api=api_url, token=token), state.timeline(), **more)
        with serving(app) as url:
            yield url

    return _serve


@pytest.fixture
def console(serve: type_of_serve) -> Iterator[str]:
    with serve() as url:
        yield url


class Furnished(NamedTuple):
    """A served console with tenants in it."""

    url: str
    tenancy: Tenancy


@pytest.fixture
def tenants(serve: type_of_serve, state: DemoState, tmp_path: Path) -> Iterator[Furnished]:
    """Ask for it before `visit`, so that pages close before the server does."""
    tenancy = Tenancy(tmp_path)
    state.tenants = True
    with serve(**tenancy.parts()) as url:
        tenancy.fill(url)
        state.kept_limits = demo_limits(tenancy.ids)
        state.kept_costs = demo_costs(tenancy.ids)
        state.kept_fairness = demo_fairness()
        yield Furnished(f"{url}/#tenants", tenancy)


type_of_visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[type_of_visit]:
    """Opens a page that fails the test when the browser's console reports an error."""
    opened: list[tuple[Page, list[str], bool]] = []

    def _visit(
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        motion: str = "no-preference",
        clock: bool = False,
        errors_are_expected: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion=motion
        )
        page = context.new_page()
        page.set_default_timeout(30_000)
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        opened.append((page, errors, errors_are_expected))
        if clock:  # page.clock.run_for then plays seconds in no time
            page.clock.install()
        page.goto(url)
        return page

    yield _visit
    for page, errors, expected in opened:
        page.context.close()
        assert expected or errors == []
