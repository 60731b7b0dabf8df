"""The pictures of docs/report.md: the page of the quickstart's experiment, `python docs/pictures/report.py`.

Its twelve trials train in this process, on a virtual clock with two workers; Chromium draws the page.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from ray.tune.logger import JsonLoggerCallback

from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.report.account import summarised
from ray_glocal.report.experiment import read
from ray_glocal.report.page.contents import contents
from ray_glocal.report.page.files import write_page
from ray_glocal.simulate import Cluster, simulate

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import quickstart

HERE = Path(__file__).parent
WIDTH, HEIGHT, SCALE = 1000, 760, 1.5  # pixels of the window, and those of the picture for each
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def experiment(folder: Path) -> Path:
    """The quickstart's experiment; its folder comes back."""
    search = GlocalSearch(quickstart.SPACE, metric="val_loss", mode="min", seed=0)
    simulate(
        quickstart.train,
        quickstart.SPACE,
        metric="val_loss",
        mode="min",
        num_samples=12,
        scheduler=GlocalScheduler(metric="val_loss", mode="min", search=search),
        search_alg=search,
        cluster=Cluster(2),
        callbacks=[JsonLoggerCallback()],
        folder=folder,
    )
    return folder / "simulation"


def page(results: Path, file: Path) -> None:
    """Write the page of an experiment."""
    told = read(results)
    write_page(replace(contents(told, summarised(told)), name="quickstart"), file)


@contextmanager
def opened(file: Path) -> Iterator[Page]:
    """The page in a window, on a light screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        size = {"width": WIDTH, "height": HEIGHT}
        tab = browser.new_page(viewport=size, device_scale_factor=SCALE, color_scheme="light")
        tab.goto(file.as_uri())
        tab.wait_for_selector("html[data-scheme]", state="attached")
        yield tab
        browser.close()


def keep(tab: Page, top: float, bottom: float, name: str) -> None:
    """Leave a part of the page, from a height to another, as WebP."""
    clip = {"x": 0.0, "y": top, "width": WIDTH, "height": bottom - top}
    picture = Image.open(io.BytesIO(tab.screenshot(full_page=True, clip=clip)))
    picture.convert("RGB").save(HERE / name, quality=80, method=6)


def heights(tab: Page, place: str) -> tuple[float, float]:
    """Where an element of the page begins and ends."""
    box = tab.locator(place).bounding_box()
    return box["y"], box["y"] + box["height"]


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "report.html")
        page(experiment(Path(place)), file)
        with opened(file) as tab:
            keep(tab, 0, heights(tab, "#trials figure")[1], "report-top.webp")
            keep(tab, *heights(tab, "#hyperparameters"), "report-hyperparameters.webp")


if __name__ == "__main__":
    main()
