"""The Evidence tab."""

import re

from playwright.sync_api import Page, expect


def test_a_model_is_chosen_on_the_page(page: Page) -> None:
    page.get_by_role("tab", name="Evidence").click()
    expect(page.get_by_role("heading", name="Evidence", exact=True)).to_be_visible()
    expect(page.locator(".v-evidence-page h2", has_text="made-up-skin")).to_be_visible()
    plot = page.locator(".v-forest")
    expect(plot).to_contain_text(re.compile(r"Sensitivity\s+[\d.]+%\s+\([\d.]+% to"))
    page.get_by_text("How these figures came about").click()
    expect(page.get_by_text(re.compile(r"\d+ of \d+ malignant images are referred")).first).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("columnheader", name="AUC, malignant").first).to_be_visible()
    page.get_by_role("radio", name="BreastMNIST, Logistic regression").check()
    expect(page.locator(".v-evidence-page h2", has_text="Logistic regression")).to_be_visible()
    expect(page.get_by_text("Learning curves, by C, the inverse strength of regularisation")).to_be_visible()
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
