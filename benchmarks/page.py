"""The page of explore.py in a headless Chromium: from the command to the first reconstruction, and per interaction.

    python benchmarks/page.py runs/demo/bn_vae --compare runs/demo/vae      (after `make demo`)

Seconds until what the browser shows has changed, median and worst of several times. It needs selenium, chromium and
chromedriver.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import machine
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

EXPLORE = Path(__file__).parents[1] / "run_scripts" / "explore.py"
SENTENCES = ("return a list of the names .", "the default is false .", "base class for exceptions .", "set the value .")
PATIENCE = 120
SEED = "input[aria-label='range slider for Seed']"


class Visit:
    """A browser on the page, and what a visitor does there."""

    def __init__(self, browser: webdriver.Chrome):
        self.browser = browser

    def html(self, selector: str) -> str:
        return self.browser.execute_script("return document.querySelector(arguments[0])?.innerHTML || ''", selector)

    def said(self) -> str:
        return self.browser.execute_script("return document.querySelector('#said-0 textarea')?.value || ''")

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.01).until(lambda _: condition())

    def taken(self, act: Callable[[], None], place: str) -> float:
        """Seconds from an act until something else stands in a place."""
        before, started = self.html(place), time.perf_counter()
        act()
        self.wait(lambda: self.html(place) not in ("", before))
        return time.perf_counter() - started

    def write(self, box: str, text: str) -> None:
        """A whole sentence at once, as if pasted."""
        self.browser.execute_script(
            "const box = document.querySelector(arguments[0]); box.value = arguments[1];"
            "box.dispatchEvent(new Event('input', {bubbles: true}))",
            box,
            text,
        )

    def key(self, place: str, key: str) -> None:
        self.browser.find_element(By.CSS_SELECTOR, place).send_keys(key)

    def press(self, button: str) -> None:
        self.browser.execute_script("document.querySelector(arguments[0]).click()", button)

    def open_tab(self, number: int, button: str) -> None:
        tab = self.browser.find_elements(By.CSS_SELECTOR, "button[role=tab]")[number]
        self.browser.execute_script("arguments[0].click()", tab)
        self.wait(lambda: self.browser.find_elements(By.CSS_SELECTOR, button))


@contextmanager
def headless() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("there is no chromium with a chromedriver on the PATH: install both")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            yield browser
        finally:
            browser.quit()


@contextmanager
def served(folder: str, compare: str | None) -> Iterator[str]:
    """The address of a page that a new process serves."""
    command = [sys.executable, str(EXPLORE), "serve", folder, *(["--compare", compare] if compare else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            address = next((line.split()[0] for line in server.stdout or [] if line.startswith("http")), None)
            if address is None:
                sys.exit(f"the page did not start: try {' '.join(command)}")
            yield address
        finally:
            server.terminate()


def report(what: str, times: list[float]) -> None:
    print(f"{what:<48}{statistics.median(times):>8.2f}{max(times):>8.2f}", flush=True)


def interactions(visit: Visit, repeats: int) -> None:
    texts = SENTENCES * repeats
    near, moved = "#near-0 ol", "#map-0 svg"
    report(
        "a sentence: reconstruction, place, neighbours",
        [visit.taken(lambda text=text: visit.write("#sentence textarea", text), near) for text in texts],
    )
    keys = [Keys.END, Keys.HOME] * (2 * repeats)
    slider = "#z-0-0 input[type=range]"
    report(
        "a slider: the text and its place", [visit.taken(lambda key=key: visit.key(slider, key), moved) for key in keys]
    )
    visit.open_tab(1, "#interpolate")
    times = []
    for text in texts:
        visit.write("#from textarea", text)
        times.append(visit.taken(lambda: visit.press("#interpolate"), "#path-0 ol"))
    report("an interpolation in 7 steps", times)
    visit.open_tab(2, "#sample")
    times = []
    for _ in texts:
        visit.key(SEED, Keys.ARROW_RIGHT)
        times.append(visit.taken(lambda: visit.press("#sample"), "#samples-0 ol"))
    report("5 samples", times)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a trained text VAE")
    parser.add_argument("--compare", help="another one beside it")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of four sentences")
    args = parser.parse_args(argv)
    print(f"{machine()}, {args.folder}{f' beside {args.compare}' if args.compare else ''}")
    print(f"{'seconds':<48}{'median':>8}{'worst':>8}")
    with headless() as browser:
        visit = Visit(browser)
        started = time.perf_counter()
        with served(args.folder, args.compare) as address:
            report("from the command to the address", [time.perf_counter() - started])
            browser.get(address)
            visit.wait(visit.said)
            report("from the command to the first reconstruction", [time.perf_counter() - started])
            interactions(visit, args.repeats)


if __name__ == "__main__":
    main()
