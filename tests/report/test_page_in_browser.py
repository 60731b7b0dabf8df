"""The page in a real headless Chromium: charts are drawn, tables sort and filter, nothing is asked of a network."""

import json
import shutil
from pathlib import Path

import pytest
import recordings
import simulated

from ray_glocal.report.account import summarised
from ray_glocal.report.experiment import read
from ray_glocal.report.page.contents import contents
from ray_glocal.report.page.document import sections
from ray_glocal.report.page.files import write_page

CHROMIUM = shutil.which("chromium")
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
QUIET += ["--disable-component-update", "--disable-sync"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
    pytest.mark.filterwarnings("default"),  # of Ray's controller
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    experiment = read(simulated.experiment(tmp_path_factory.mktemp("simulated"), trials=130))
    return contents(experiment, summarised(experiment))


@pytest.fixture(scope="module")
def page(told, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(told, file)
    return file


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The page of what ASHA did with accuracies: no loss, no forecast, no process that runs two trials."""
    experiment = recordings.Experiment(tmp_path_factory.mktemp("plain") / "asha", key="accuracy", mode="max")
    for i in range(20):
        experiment.add(f"t{i:02}", {"lr": 0.01 * (i + 1), "optimizer": "ab"[i % 2]})
        for step in range(1, 6 if i % 3 == 0 else 3):
            told = {"train_loss": 1 / step} if i == 2 else {}
            experiment.report(f"t{i:02}", step, 0.5 + 0.01 * i + 0.02 * step, hostname="node", pid=1000 + i, **told)
        experiment.end(f"t{i:02}")
    read_back = read(experiment.write(), "accuracy", "max")
    file = experiment.folder / "report.html"
    write_page(contents(read_back, summarised(read_back)), file)
    return file


@pytest.fixture(scope="module")
def look(browser, page):
    """Opens the page; what it complains of and asks for is empty at the end."""
    complaints = []

    def opened(width=1180, scheme="light", page=page):
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.append(request.url) if _elsewhere(request.url, page) else None)
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-scheme]", state="attached")
        return tab

    yield opened
    assert complaints == []


@pytest.fixture(scope="module")
def tab(look):
    """One page for all that looks at a wide, light screen: a load takes seconds."""
    return look()


def _elsewhere(address: str, page: Path) -> bool:
    return address != page.as_uri() and not address.startswith(("data:", "blob:"))


def test_a_page_without_training_losses_and_one_trial_that_tells_them(look, plain):
    tab = look(page=plain)
    right = tab.locator("#curve .y2tick")
    assert right.count() == 0
    picked = tab.locator("select[data-chart=curve]")
    picked.select_option("t02")
    assert right.count() > 0
    picked.select_option("t03")
    assert right.count() == 0


MARKS = ".scatterlayer path.js-line, .scatterlayer path.point, .barlayer path, .scatterlayer .text"


def test_every_chart_has_drawn_marks_and_says_what_it_shows(tab, told):
    keys = [chart.key for part in sections(told) for chart in part.charts]
    assert len(keys) == 11
    for key in keys:
        assert tab.locator(f"#{key}").locator(MARKS).count() > 0, key
        assert tab.locator(f"#{key}-caption").inner_text().endswith(".")
        assert tab.locator(f"#{key}").get_attribute("aria-labelledby") == f"{key}-caption"


def cells(tab, key, column):
    return tab.locator(f"#{key} tbody tr td:nth-child({column})").all_inner_texts()


def test_a_click_on_a_heading_sorts_the_rows_and_another_turns_them_round(tab, told):
    heading = tab.get_by_role("button", name="seconds")
    heading.click()
    expected = sorted(told.trials, key=lambda life: (life.seconds, life.rank))
    assert cells(tab, "trials-table", 2) == [life.trial for life in expected][:100]
    heading.click()
    expected = sorted(told.trials, key=lambda life: (-life.seconds, life.rank))
    assert cells(tab, "trials-table", 2) == [life.trial for life in expected][:100]
    assert tab.locator("#trials-table th[aria-sort=descending]").count() == 1


def test_a_filter_leaves_the_rows_that_hold_every_word(tab, told):
    tab.locator("#decisions-table-filter").fill("stop rung")
    expected = [each for each in told.decisions if each.decision == "stop" and each.rule == "rung"]
    assert 0 < len(expected) < len(told.decisions)
    assert cells(tab, "decisions-table", 1) == [str(each.number) for each in expected][:100]
    count = f"{len(expected):,} of {len(told.decisions):,} rows"
    assert tab.locator("#decisions-table-count").inner_text() == count
    tab.locator("#decisions-table-filter").fill("no such word")
    assert cells(tab, "decisions-table", 1) == []
    tab.locator("#decisions-table-filter").fill("")


def test_tab_and_enter_sort(tab, told):
    tab.locator("#decisions-table-filter").focus()
    while tab.evaluate("document.activeElement.textContent") != "step":
        tab.keyboard.press("Tab")
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(ring) == "solid"
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")
    expected = sorted(told.decisions, key=lambda each: (-each.step, each.number))
    assert cells(tab, "decisions-table", 1) == [str(each.number) for each in expected][:100]


def test_more_rows_come_when_they_are_asked_for(tab, told):
    assert tab.locator("#trials-table tbody tr").count() == 100
    tab.locator("#trials-table-more").click()
    assert tab.locator("#trials-table tbody tr").count() == len(told.trials)
    assert tab.locator("#trials-table-more").is_hidden()


def test_the_best_trial_is_shown_first_and_another_can_be_picked(tab, told):
    best, other = told.trials[0], told.trials[4]
    picked = tab.locator("select[data-chart=curve]")
    assert picked.input_value() == best.trial
    picked.select_option(other.trial)
    drawn = "JSON.stringify(document.getElementById('curve').data[2].y)"
    assert tuple(json.loads(tab.evaluate(drawn))) == told.curves[other.trial].value
    assert tab.locator("#curve-caption").inner_text().startswith(f"Trial {other.trial} ")
    assert tab.locator("select[data-chart=path]").first.input_value() == other.trial  # they follow each other


STROKE = "document.querySelector('#all-curves path.js-line').style.stroke"
GROUND = "getComputedStyle(document.body).backgroundColor"


def test_a_dark_screen_gets_colours_of_its_own_also_when_it_turns_dark_later(look, tab):
    light = tab.evaluate(STROKE), tab.evaluate(GROUND)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_selector("html[data-scheme=dark]", state="attached")
    dark = tab.evaluate(STROKE), tab.evaluate(GROUND)
    tab.emulate_media(color_scheme="light")
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    fresh = look(scheme="dark")
    assert (fresh.evaluate(STROKE), fresh.evaluate(GROUND)) == dark


def test_on_a_phone_the_page_does_not_scroll_sideways(look):
    tab = look(width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    right = "[...document.querySelectorAll('figure, .listed, h2, p')].map(each => each.getBoundingClientRect().right)"
    assert max(tab.evaluate(right)) <= 390
