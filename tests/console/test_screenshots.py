"""Pictures of the console. Kept where PENSTOCK_SCREENSHOTS names a folder; README shows the first."""

import os
from pathlib import Path

import pytest

from tests.console.tenancy import ADMIN

pytestmark = pytest.mark.browser

VIEWS = [
    ("console", {"width": 1280, "height": 900}),
    ("console-dark", {"width": 1280, "height": 900, "scheme": "dark"}),
    ("console-phone", {"width": 390, "height": 844}),
]


TENANTS = [
    ("tenants", {"width": 1280, "height": 900}),
    ("tenants-dark", {"width": 1280, "height": 900, "scheme": "dark"}),
    ("tenants-phone", {"width": 390, "height": 844}),
    ("tenants-narrow", {"width": 800, "height": 900}),
]


@pytest.mark.parametrize(("name", "view"), VIEWS, ids=[name for name, _ in VIEWS])
def test_picture(console, visit, tmp_path, name, view):
    page = visit(console, **view)
    page.get_by_role("combobox", name="Model").wait_for()
    page.wait_for_selector("#recent tr")
    if view["width"] > 1000:
        page.get_by_label("Message").fill("What is a penstock, in two sentences?")
        page.keyboard.press("Enter")
        page.get_by_text("tok/s · 64 tokens").wait_for()
    folder = Path(os.environ.get("PENSTOCK_SCREENSHOTS", tmp_path))
    shot = page.screenshot(path=folder / f"{name}.png", full_page=view["width"] < 1000)
    assert shot.startswith(b"\x89PNG")
    # Nothing may push the page sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= view["width"]


@pytest.mark.parametrize(("name", "view"), TENANTS, ids=[name for name, _ in TENANTS])
def test_picture_of_tenants(tenants, visit, tmp_path, name, view):
    page = visit(tenants.url, **view)
    page.get_by_label("Admin token or admin key").fill(ADMIN)
    page.keyboard.press("Enter")
    page.get_by_text("ranker", exact=True).first.wait_for()
    page.locator("#cost-rows tr").nth(2).wait_for()
    page.locator(".limit", has_text="ci key").first.wait_for()
    page.locator("#tree td", has_text="s ago").wait_for(state="attached")
    folder = Path(os.environ.get("PENSTOCK_SCREENSHOTS", tmp_path))
    shot = page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert shot.startswith(b"\x89PNG")
    assert page.evaluate("document.documentElement.scrollWidth") <= view["width"]
