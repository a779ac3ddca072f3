"""What a person can do with the console, in a real browser."""

import re
import time

import pytest

pytestmark = pytest.mark.browser

TOKEN = "letmein"


def ask(page, text="What is a penstock?"):
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def test_page_fills_with_what_the_fleet_says(console, visit):
    page = visit(console)
    page.wait_for_selector("#recent tr.record")
    page.get_by_role("status").get_by_text("Ready", exact=True).wait_for()
    assert page.title() == "Penstock console"
    page.locator(".figure", has_text=re.compile(r"\d")).nth(3).wait_for()
    labels = page.locator(".spark").evaluate_all("nodes => nodes.map(n => n.getAttribute('aria-label'))")
    assert len(labels) == 4
    assert all("last five minutes. Now" in label and "peak" in label for label in labels)
    assert page.locator(".spark .line").evaluate_all("all => all.every(l => l.getAttribute('d').length > 100)")
    assert page.get_by_role("article", name="Engine vllm-b").inner_text().count("unreachable") == 1
    assert page.locator("#address").inner_text() == "http://127.0.0.1:8080/v1"
    assert page.locator("#live tr").count() == 3
    assert page.locator("#recent tr.record").count() == 40


def facts(page, engine):
    card = page.get_by_role("article", name=f"Engine {engine}")
    card.wait_for()
    pairs = card.locator("dl.facts div").evaluate_all("all => all.map(f => [...f.children].map(c => c.textContent))")
    return {name: value.replace("\u202f", " ") for name, value in pairs}


def test_a_card_shows_load_and_what_is_unknown_is_no_zero(console, visit):
    page = visit(console)
    assert facts(page, "vllm-a").items() >= {"Run / wait": "1 / 0", "KV cache": "41 %"}.items()
    assert facts(page, "local")["Run / wait"] == "2 / 0"
    assert "KV cache" not in facts(page, "local")
    assert not {"Run / wait", "KV cache", "Share", "Breaker"} & facts(page, "vllm-b").keys()
    assert page.locator(".flag").count() == 0


def test_a_card_flags_missing_signals_and_an_open_breaker(console, visit, state):
    state.missing = ["waiting"]
    well = {"weight": 1.0, "breaker": "closed", "ejected": False, "reasons": []}
    ill = {"weight": 0.0, "breaker": "half_open", "ejected": False, "reasons": ["5 failures in a row"]}
    state.judgements = [{"local": well, "vllm-a": ill}, {"local": well | {"weight": 0.25}, "vllm-a": well}]
    page = visit(console)
    shown = facts(page, "local")
    assert (shown["Run / wait"], shown["Share"]) == ("2 / –", "25 %")
    assert "Breaker" not in shown
    shown = facts(page, "vllm-a")
    assert (shown["Share"], shown["Breaker"]) == ("0 %", "half open in 1 of 2")
    assert page.locator(".flag").all_inner_texts() == ["Its metrics lack: waiting", "5 failures in a row"]
    assert page.evaluate(CONTRAST) == []


def test_a_row_opens_by_keyboard_and_stays_open(console, visit, state):
    page = visit(console, clock=True)
    opener = page.locator("#recent button").first
    opener.focus()
    page.keyboard.press("Enter")
    detail = page.locator("#recent tr.detail:not([hidden])")
    assert page.locator(":focus").get_attribute("aria-expanded") == "true"
    for field in ("id", "itl.max_s", "cached_tokens", "tokens_source", "bytes_in", "attempts"):
        assert detail.locator("dt", has_text=field).count() >= 1
    state.records = [state.records[0] | {"id": "newest", "time": time.time()}, *state.records]
    page.clock.run_for(2100)  # longer than one poll
    page.locator("#recent tr.record").nth(40).wait_for()
    assert detail.is_visible()
    assert page.locator(":focus").get_attribute("aria-expanded") == "true"


def test_problems_only(console, visit):
    page = visit(console)
    page.wait_for_selector("#recent tr.record")
    page.keyboard.press("p")
    assert page.locator("#recent tr.record").count() == 5
    assert "success" not in page.locator("#recent").inner_text()


def test_playground_streams_and_remembers(console, visit, api):
    api.pause_s = 0.08
    page = visit(console)
    page.get_by_role("option", name="Qwen3-8B", exact=True).wait_for(state="attached")
    page.get_by_label("Model", exact=True).select_option("Qwen3-8B")
    page.get_by_text("Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Max tokens").fill("64")
    page.get_by_label("Message").fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    log = page.get_by_role("log")
    log.get_by_text("A penstock is").wait_for()
    assert log.get_attribute("aria-busy") == "true"
    assert "overspeeds" not in log.inner_text()
    page.get_by_text("· 64 tokens").wait_for()
    assert log.get_attribute("aria-busy") is None
    assert "<b>Markup</b> from a model" in log.inner_text()
    assert log.locator("b").count() == 0
    assert "TTFT" in log.inner_text()
    assert "tok/s" in log.inner_text()
    body = api.bodies[0]
    assert body["model"] == "Qwen3-8B"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one\ntwo"},
    ]
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (0.7, 64, True)

    api.pause_s = 0
    ask(page, "again")
    page.locator(".turn .note", has_text="64 tokens").nth(1).wait_for()
    assert [message["role"] for message in api.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".turn").count() == 0
    assert page.get_by_text("Ask the model something").is_visible()


def test_stop_frees_the_api_and_keeps_what_came(console, visit, api):
    api.pause_s = 0.1
    page = visit(console)
    page.get_by_role("option", name="Qwen3-8B", exact=True).wait_for(state="attached")
    ask(page)
    page.locator(".turn[data-role=assistant]").get_by_text("A penstock").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("· stopped").wait_for()
    assert api.left.wait(10)
    assert page.get_by_role("button", name="Send").is_visible()


def test_a_refused_request_says_why_and_gives_the_words_back(console, visit, api, state):
    state.open = False
    api.error = (401, "the key is not known")
    page = visit(console, errors_are_expected=True)
    page.get_by_label("API key").fill("sk-wrong")
    ask(page, "hello")
    page.get_by_text("the key is not known").wait_for()
    assert api.authorizations == ["Bearer sk-wrong"]
    assert page.get_by_label("Message").input_value() == "hello"
    api.error = None
    page.get_by_label("Message").press("Enter")
    page.get_by_text("· 64 tokens").wait_for()
    assert [message["content"] for message in api.bodies[1]["messages"]] == ["hello"]


def test_token_is_asked_once_per_tab(serve, visit, api):
    with serve(token=TOKEN) as url:
        page = visit(url, errors_are_expected=True)
        page.get_by_label("Token", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("This token was not accepted.").wait_for()
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#recent tr.record")
        page.get_by_role("option", name="Qwen3-8B", exact=True).wait_for(state="attached")
        ask(page)
        page.get_by_text("· 64 tokens").wait_for()
        assert api.authorizations == [None]
        page.reload()
        page.wait_for_selector("#recent tr.record")
        assert page.locator("#unlock").is_hidden()


def test_not_ready_and_empty_are_said(console, visit, state):
    state.quiet = True
    state.reasons = ["engine local is starting"]
    page = visit(console, errors_are_expected=True)
    page.get_by_text("Not ready: engine local is starting").wait_for()
    page.get_by_text("No engine is configured").wait_for()
    assert page.get_by_text("Nothing is running.").is_visible()
    assert page.get_by_text("No request has finished yet.").is_visible()


def test_a_silent_listener_is_said_and_recovers(console, visit):
    page = visit(console, clock=True, errors_are_expected=True)
    page.wait_for_selector("#recent tr.record")
    page.context.set_offline(True)
    page.clock.run_for(2100)
    page.get_by_text("The admin listener does not answer").wait_for()
    assert page.get_by_text("No answer").is_visible()
    page.context.set_offline(False)
    for _ in range(30):
        page.clock.run_for(1000)
        time.sleep(0.05)
        if page.locator("#banner").is_hidden():
            return
    pytest.fail("half a minute after the listener came back, the page still says it is silent")


def test_hidden_page_stops_asking(console, visit, state):
    page = visit(console, clock=True)
    page.wait_for_selector("#engines .card")
    hide = "Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {}}})"
    flip = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"{hide.format('true')}; {flip}")
    time.sleep(0.2)
    before = len(state.asked)
    page.clock.run_for(30_000)
    time.sleep(0.2)
    assert len(state.asked) == before
    page.evaluate(f"{hide.format('false')}; {flip}")
    time.sleep(0.3)
    assert len(state.asked) > before


def test_keyboard_alone_reaches_everything(console, visit):
    page = visit(console)
    page.wait_for_selector("#recent tr.record")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the playground"
    page.keyboard.press("Enter")
    page.keyboard.press("?")  # the prompt has the focus after the skip link: a sign like any other
    assert page.get_by_label("Message").input_value() == "?"
    page.get_by_label("Message").fill("")
    page.locator("#help").focus()
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").evaluate("node => node === document.activeElement")
    page.keyboard.press("/")
    assert page.get_by_label("Message").evaluate("node => node === document.activeElement")

    # Tab walks on through every part: no trap, and every stop shows its focus.
    page.locator("#copy").focus()
    seen = []
    for _ in range(14):
        name, outline = page.evaluate(
            "(({activeElement: a}) => [a.id || a.className, getComputedStyle(a).outlineStyle])(document)"
        )
        assert outline == "solid", name
        seen.append(name)
        page.keyboard.press("Tab")
    wanted = ["copy", "theme", "help", "model", "prompt", "problems", "open"]
    places = [seen.index(name) for name in wanted]
    assert places == sorted(places)


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_theme_follows_the_system_and_can_be_held(console, visit, scheme, dark):
    page = visit(console, scheme=scheme)

    def is_dark():
        return page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part < 128)")

    assert is_dark() is dark
    page.keyboard.press("t")
    assert is_dark() is False
    page.keyboard.press("t")
    assert is_dark() is True
    page.reload()
    assert is_dark() is True


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const lum = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = n => { for (; n; n = n.parentElement) {
    const c = rgba(getComputedStyle(n).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some(c => c.nodeType === 3 && c.textContent.trim());
    if (!text || !node.checkVisibility() || node.closest(':disabled, .skip, option')) continue;
    const [a, b] = [lum(rgba(getComputedStyle(node).color)), lum(ground(node))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) poor.push(`${node.tagName}.${node.className}: ${node.textContent}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(console, visit, state, scheme):
    page = visit(console, scheme=scheme)
    page.wait_for_selector("#recent tr.record")
    page.wait_for_selector("#engines .card")
    assert page.evaluate(CONTRAST) == []


def test_reduced_motion_is_respected(console, visit, api):
    api.pause_s = 0.2
    page = visit(console, motion="reduce")
    page.get_by_role("option", name="Qwen3-8B", exact=True).wait_for(state="attached")
    ask(page)
    page.locator(".turn[data-role=assistant]").get_by_text("A penstock").wait_for()
    caret = "getComputedStyle(document.querySelector('.turn:last-child .text'), '::after').animationName"
    assert page.evaluate(caret) == "none"
    page.keyboard.press("Escape")
