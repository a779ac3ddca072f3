"""What an administrator can do with the console's view of tenants, over the real routes and store."""

import re

import httpx
import pytest

from penstock.gateway.admin.state import Costs, Limits
from tests.console.tenancy import ADMIN
from tests.console.test_console import CONTRAST

pytestmark = pytest.mark.browser


def unlock(page, credential=ADMIN):
    page.get_by_label("Admin token or admin key").fill(credential)
    page.keyboard.press("Enter")


def keys_of(url):
    """The keys as the API has them, by name."""
    answer = httpx.get(
        f"{url.partition('#')[0]}admin/keys?limit=1000", headers={"authorization": f"Bearer {ADMIN}"}
    ).raise_for_status()
    return {key["name"]: key for key in answer.json()["keys"]}


def tree_row(page, name):
    return page.locator("#tree tr", has=page.locator("td.name", has_text=re.compile(f"^{name}")))


def test_views_are_links_and_keys(tenants, visit):
    page = visit(tenants.url.replace("#tenants", ""))
    page.wait_for_selector("#recent tr.record")
    assert page.locator("#tenants-view").is_hidden()
    page.get_by_role("link", name="Tenants", exact=True).click()
    assert page.locator("#fleet-view").is_hidden()
    page.get_by_role("heading", name="Limits in use").wait_for()
    assert page.get_by_role("link", name="Tenants", exact=True).get_attribute("aria-current") == "page"
    page.go_back()
    page.locator("#fleet-view").wait_for()
    page.keyboard.press("2")
    page.locator("#tenants-view").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    assert page.get_by_label("Message").evaluate("node => node === document.activeElement")


def test_the_skip_link_leads_to_the_view(tenants, visit):
    page = visit(tenants.url)
    page.locator("#admin-credential").wait_for()  # it is hidden until the platform said that tenants are kept
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the tenants"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator(":focus").get_attribute("id") == "admin-credential"


def test_the_tree_needs_an_administrator_and_the_rest_does_not(tenants, visit):
    page = visit(tenants.url, errors_are_expected=True)
    page.locator(".limit").nth(5).wait_for()
    page.locator("#cost-rows tr").nth(2).wait_for()
    assert page.locator("#tree").is_hidden()
    unlock(page, "wrong")
    page.get_by_text("This credential was not accepted.").wait_for()
    assert page.locator("#admin-credential").evaluate("node => node === document.activeElement")
    unlock(page)
    tree_row(page, "ranker").wait_for()
    assert page.get_by_text("This credential was not accepted.").is_hidden()
    assert "old" not in page.locator("#tree").inner_text()
    page.get_by_label("Show ended").check()
    assert "revoked" in tree_row(page, "old").inner_text()


def test_an_admin_key_works_too_and_another_key_does_not(tenants, visit):
    page = visit(tenants.url, errors_are_expected=True)
    tenants.tenancy.follow()
    unlock(page, tenants.tenancy.secrets["ci"])
    page.get_by_text("this key may not administer").wait_for()
    unlock(page, tenants.tenancy.secrets["operator"])
    tree_row(page, "ranker").wait_for()


def test_the_credential_is_in_memory_alone(tenants, visit):
    page = visit(tenants.url)
    unlock(page)
    tree_row(page, "ranker").wait_for()
    kept = "JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href, history.state])"
    assert ADMIN not in page.evaluate(kept)
    assert ADMIN not in page.content()
    assert page.locator("#admin-credential").input_value() == ""
    page.get_by_role("button", name="Lock").click()
    assert page.locator("#tree").is_hidden()
    assert "ranker" not in page.locator("#tree").inner_text()
    unlock(page)
    tree_row(page, "ranker").wait_for()
    page.reload()
    page.get_by_label("Admin token or admin key").wait_for()
    assert page.locator("#tree").is_hidden()


def test_a_key_is_made_by_keyboard_and_its_secret_shown_once(tenants, visit):
    page = visit(tenants.url)
    unlock(page)
    new = page.get_by_role("button", name="New key for globex / research")
    new.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="New key for globex / research")
    assert dialog.get_by_label("May administer").is_hidden()
    dialog.get_by_label("Name").fill("nightly")
    dialog.get_by_label("Limits").fill("requests=10/minute\nspend=5/day")
    dialog.get_by_label("Models").fill("Qwen3-*")
    dialog.get_by_label("Expires").select_option("30")
    dialog.get_by_role("button", name="Create").press("Enter")
    page.get_by_text("It is not shown again.").wait_for()
    secret = page.get_by_label("Secret").input_value()
    assert re.fullmatch(r"sk-ps-[a-z2-7]{12}-[a-z2-7]{40}", secret)
    assert page.locator(":focus").inner_text() == "Copy"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.keyboard.press("Escape")
    tree_row(page, "nightly").wait_for()
    assert page.locator("#key-secret").input_value() == ""
    assert secret not in page.content()
    assert new.evaluate("node => node === document.activeElement")
    made = keys_of(tenants.url)["nightly"]
    assert (made["org"], made["team"], made["admin"]) == ("globex", "research", False)
    assert made["limits"] == ["requests=10/minute", "spend=5/day"]
    assert made["models"] == ["Qwen3-*"]
    assert 29.9 * 86_400 < made["expires"] - made["created"] <= 30 * 86_400


def test_what_is_wrong_with_a_key_is_said_in_its_dialog(tenants, visit):
    page = visit(tenants.url, errors_are_expected=True)
    unlock(page)
    page.get_by_role("button", name="New key for operators").click()
    page.get_by_label("May administer the whole platform").check()
    page.get_by_label("Limits, one a line").fill("beans=5")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("'beans' is not counted").wait_for()
    page.get_by_label("Limits, one a line").fill("")
    page.get_by_label("Name").fill("second")
    page.get_by_role("button", name="Create").click()
    page.get_by_text("It is not shown again.").wait_for()
    page.get_by_role("button", name="Done").click()
    assert keys_of(tenants.url)["second"]["admin"] is True
    page.get_by_role("button", name="New key for operators").click()
    assert page.get_by_label("May administer the whole platform").is_checked() is False
    assert page.get_by_label("Name").input_value() == ""


def test_a_key_is_revoked_after_a_question(tenants, visit):
    page = visit(tenants.url)
    unlock(page)
    page.get_by_role("button", name="Revoke ranker").click()
    dialog = page.get_by_role("dialog", name="Revoke ranker")
    assert tenants.tenancy.ids["ranker"] in dialog.inner_text()
    dialog.get_by_role("button", name="Keep it").click()
    assert keys_of(tenants.url)["ranker"]["state"] == "active"
    page.get_by_role("button", name="Revoke ranker").click()
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    tree_row(page, "ranker").wait_for(state="detached")
    assert keys_of(tenants.url)["ranker"]["state"] == "revoked"
    assert keys_of(tenants.url)["ci"]["state"] == "active"


def test_an_organisation_opens_and_closes_by_keyboard(tenants, visit):
    page = visit(tenants.url)
    unlock(page)
    tree_row(page, "eval").wait_for()
    page.get_by_role("button", name="globex: teams and keys").focus()
    page.keyboard.press("Enter")
    tree_row(page, "eval").wait_for(state="detached")
    assert page.locator(":focus").get_attribute("aria-expanded") == "false"
    page.keyboard.press("Space")
    tree_row(page, "eval").wait_for()
    assert page.locator(":focus").get_attribute("aria-expanded") == "true"


def test_last_use_comes_from_the_ledger(tenants, visit):
    page = visit(tenants.url)
    unlock(page)
    tree_row(page, "ci").get_by_text(re.compile(r"4\d s ago")).wait_for()
    assert "–" in tree_row(page, "notebook").inner_text()


def test_limits_show_use_names_and_a_store_that_is_away(tenants, visit, state):
    page = visit(tenants.url)
    full = page.locator(".limit").first
    full.get_by_text("full").wait_for()
    assert "10,000 / 10,000" in full.inner_text()
    assert tenants.tenancy.ids["ci"] in full.inner_text()
    assert page.locator("#limits-problem").is_hidden()
    images = page.locator(".limit").get_by_role("img")
    labels = images.evaluate_all("all => all.map(n => n.getAttribute('aria-label'))")
    assert "acme, spend per month: 86.40 / 100.00, of it 0.25 reserved here" in labels
    widths = (
        page.locator(".limit", has_text="acme/search")
        .locator("rect")
        .evaluate_all("all => all.map(n => Number(n.getAttribute('width')))")
    )
    assert widths == pytest.approx([100, 53.536, 12])
    unlock(page)
    page.locator(".limit", has_text="ci key").first.wait_for()
    state.kept_limits = Limits([], "no answer within 0.5 s")
    page.get_by_text("The store of limits does not answer: no answer within 0.5 s").wait_for()
    page.get_by_text("No limit was in use during the last minute.").wait_for()


def test_days_are_walked_through_by_arrow_keys(tenants, visit):
    page = visit(tenants.url)
    page.get_by_text("most on").wait_for()
    chart = page.locator(".bars")
    assert chart.locator("rect").count() == 30
    assert "Cost by day, last 30 days. Sum" in chart.get_attribute("aria-label")
    heights = chart.locator("rect").evaluate_all("all => all.map(n => Number(n.getAttribute('height')))")
    assert max(heights) == 100
    assert heights[-12] == 0, "a day on which nobody came"
    chart.focus()
    page.keyboard.press("Home")
    note = page.locator("#cost-note")
    first = note.inner_text()
    assert re.fullmatch(r"\d+ \w{3,4}: \d\.\d\d USD", first)
    assert first.startswith(page.locator("#cost-first").inner_text())
    page.keyboard.press("ArrowRight")
    assert note.inner_text() != first
    page.keyboard.press("End")
    assert note.inner_text().startswith(page.locator("#cost-last").inner_text())
    page.get_by_label("Measure").select_option("Tokens")
    assert page.locator("#cost-unit").inner_text() == "tokens"
    page.get_by_label("Time", exact=True).select_option("90 days")
    chart.locator("rect").nth(89).wait_for()
    page.get_by_label("By", exact=True).select_option("model")
    page.get_by_role("cell", name="SmolLM2-135M-Instruct").wait_for()
    assert "3,720 unpriced" in page.locator("#cost-rows").inner_text()
    assert "3 requests had no price" in page.locator("#cost-unpriced").inner_text()


def test_a_ledger_behind_and_two_currencies_are_said(tenants, visit, state):
    costs = state.kept_costs

    def mixed(by, days):
        rows = list(costs(by, days).rows)
        return Costs([*rows, rows[0] | {"currency": "EUR", "requests": 1, "cost": "7"}], "the disk is full")

    state.kept_costs = mixed
    page = visit(tenants.url)
    page.get_by_text("The newest requests are missing: the disk is full").wait_for()
    page.get_by_text("without EUR, see the table").wait_for()
    assert "7.00 EUR" in page.locator("#cost-rows").inner_text()
    assert page.locator("#cost-unit").inner_text() == "USD"


def test_fairness_has_its_index(tenants, visit):
    page = visit(tenants.url)
    page.get_by_text("1 is even, over the last 1 min").wait_for()
    assert page.locator("#fairness-index .figure").inner_text() == "0.99"
    rows = page.locator("#fairness tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["acme/search", "globex/research", "acme/support"]


def test_what_is_off_says_how_to_switch_it_on(console, visit):
    page = visit(f"{console}/#tenants")
    for words in (
        "auth.tenants: true in the config",
        "rate_limits in",
        "ledger.enabled: true",
        "max_in_flight",
    ):
        page.locator("#tenants-view").get_by_text(words).first.wait_for()
    assert page.locator("#admin-form").is_hidden()
    assert page.locator("#cost-body").is_hidden()


def test_the_token_of_the_whole_console_serves_for_tenants(serve, visit, state, tmp_path):
    from tests.console.tenancy import Tenancy  # noqa: PLC0415 - the fixture has no token

    tenancy = Tenancy(tmp_path)
    state.tenants = True
    with serve(token=ADMIN, **tenancy.parts()) as url:
        tenancy.fill(url)
        page = visit(f"{url}/#tenants", errors_are_expected=True)
        page.get_by_label("Token", exact=True).fill(ADMIN)
        page.keyboard.press("Enter")
        tree_row(page, "ranker").wait_for()
        assert page.locator("#admin-form").is_hidden()
        assert page.get_by_role("button", name="Lock").is_hidden()


def test_names_of_tenants_are_text(tenants, visit, state):
    state.kept_limits = Limits([dict(state.kept_limits.rows[2]) | {"subject": "<img src=x onerror=alert(1)>"}], "")
    page = visit(tenants.url)
    page.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    assert page.locator("#tenants-view img").count() == 0


def test_the_view_that_is_not_shown_asks_nothing(tenants, visit, state):
    page = visit(tenants.url.replace("#tenants", ""), clock=True)
    page.wait_for_selector("#engines .card")
    page.clock.run_for(5000)
    assert "engines" in state.asked
    assert not any(asked == "limits" or asked.startswith("costs") for asked in state.asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_the_view_has_contrast(tenants, visit, scheme):
    page = visit(tenants.url, scheme=scheme)
    unlock(page)
    tree_row(page, "ranker").wait_for()
    page.get_by_label("Show ended").check()
    page.locator("#cost-rows tr").nth(2).wait_for()
    page.locator(".limit").nth(5).wait_for()
    assert page.evaluate(CONTRAST) == []
    page.get_by_role("button", name="New key for acme", exact=True).click()
    assert page.evaluate(CONTRAST) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Revoke ranker").click()
    assert page.evaluate(CONTRAST) == []
