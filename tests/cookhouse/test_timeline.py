"""The timeline page of real runs, in text and in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cookhouse.pages.timeline import href, layers

RUN = ("run", "recipe=toy", "--backend", "inprocess")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def page_of(cookhouse, *arguments: str) -> str:
    code, out, _ = cookhouse("status", "--html", *arguments)
    assert code == 0
    return Path(out.strip()).read_text(encoding="utf-8")


def summary_of(page: str, step: str) -> str:
    found = re.search(rf'<details[^>]* id="{step}"><summary>(.*?)</summary>', page, re.DOTALL)
    assert found
    return re.sub(r"<[^>]+>", " ", found[1])


def test_a_run_that_failed_then_was_made(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:bug")
    cookhouse(*RUN, f"steps.numbers.crash={crash}")
    page = page_of(cookhouse)
    assert "failed" in summary_of(page, "numbers")
    assert "1/4 numbers" in summary_of(page, "numbers")
    assert "waiting" in summary_of(page, "total")
    assert "ZeroDivisionError" in page
    cookhouse(*RUN)
    page = page_of(cookhouse)
    assert "made" in summary_of(page, "numbers")
    assert page.count("attempt 1") >= 1
    assert page.count("attempt 2") >= 1
    assert "total 20" in summary_of(page, "total")
    cookhouse(*RUN)
    assert "from the store" in summary_of(page_of(cookhouse), "numbers")


def test_it_is_self_contained_and_its_links_lead_somewhere(cookhouse, here) -> None:
    cookhouse(*RUN)
    page = page_of(cookhouse)
    assert not re.search(r"<(script|link|img|iframe)|https?://|@import|url\(", page)
    links = [html.unescape(found) for found in re.findall(r"href='([^']+)'", page)]
    folder = next((here / "artifacts" / "runs").glob("*/timeline.html")).parent
    assert len(links) == 6, "a log and a folder a step"
    for link in links:
        assert (folder / link).exists(), link


def test_a_name_in_the_data_is_text_and_no_markup(cookhouse, here) -> None:
    recipe = here / "conf" / "recipe" / "toy.yaml"
    recipe.write_text(recipe.read_text() + "variable: x\n")
    cookhouse(*RUN, "variable='<script>alert(1)</script>'")
    page = page_of(cookhouse)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_layers_put_a_step_right_of_its_inputs() -> None:
    inputs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a", "d"], "alone": []}
    place = layers(inputs)
    assert {name: column for name, (column, _) in place.items()} == {
        "a": 0,
        "b": 1,
        "c": 1,
        "d": 2,
        "e": 3,
        "alone": 0,
    }
    assert len(set(place.values())) == len(place), "no two steps at one place"
    assert layers({}) == {}


def test_links_are_relative_to_the_page() -> None:
    assert href("/r/a b/x/log", "/r/runs/1") == "../../a%20b/x/log"


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_in_a_browser_nothing_sticks_out_at_phone_width_and_steps_open(cookhouse, here) -> None:
    """Laid out by a real browser in a frame of phone width and one of a desktop."""
    crash = here / "crash"
    crash.write_text("after-1:bug")
    cookhouse(*RUN, f"steps.numbers.crash={crash}")
    page = page_of(cookhouse)
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page, quote=True)}"></iframe>'
        for width in (390, 1200)
    )
    script = """
      window.onload = () => { document.title = JSON.stringify([...document.querySelectorAll("iframe")].map(frame => {
        const page = frame.contentDocument, box = name => page.querySelector(name).getBoundingClientRect();
        return { wide: page.documentElement.scrollWidth, nodes: page.querySelectorAll("svg .node").length,
          open: [...page.querySelectorAll("details[open]")].map(item => item.id), bar: box("#numbers .bar").width,
          track: box("#numbers .bars").width,
          table: getComputedStyle(page.querySelector("summary")).gridTemplateColumns.split(" ").length }; })); };
    """
    wrapper = here / "wrapper.html"
    wrapper.write_text(f"<!doctype html><body>{frames}<script>{script}</script></body>", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={here / 'browser'}", "--dump-dom"]
    shown = subprocess.run(
        [str(BROWSER), *flags, wrapper.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title
    phone, desk = json.loads(html.unescape(title[1]))
    for frame in (phone, desk):
        assert frame["nodes"] == 3
        assert frame["open"] == ["numbers"], "what failed is open"
        assert 0 < frame["bar"] <= frame["track"]
    assert phone["wide"] <= 390
    assert desk["wide"] <= 1200
    assert (phone["table"], desk["table"]) == (3, 5)
