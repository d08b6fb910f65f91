"""The page: it takes and gives what its limits allow, and a visitor gets there what the models give."""

import asyncio
import sys
import urllib.error
import urllib.request

import pytest

from hf_bnvae.analysis import page as pages
from hf_bnvae.analysis.explorer import Explorer, PageError
from hf_bnvae.analysis.page import SizeLimit, build_page, serve
from tests.analysis.conftest import NASTY


def test_a_request_that_is_too_large_is_refused_or_cut_off():
    async def ask(headers, bodies):
        sent, read = [], []

        async def application(scope, receive, send):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                read.append(message)
            read.append(message)

        async def receive():
            return {"type": "http.request", "body": bodies.pop(0), "more_body": bool(bodies)}

        async def send(message):
            sent.append(message)

        await SizeLimit(application)({"type": "http", "headers": headers}, receive, send)
        return sent, read

    sent, read = asyncio.run(ask([(b"content-length", b"70000")], [b""]))
    assert sent[0]["status"] == 413 and not read
    assert asyncio.run(ask([(b"content-length", b"-1")], [b""]))[0][0]["status"] == 413
    sent, read = asyncio.run(ask([], [b"x" * 40_000] * 3))
    assert not sent and [message["type"] for message in read] == ["http.request", "http.disconnect"]
    assert len(asyncio.run(ask([(b"content-length", b"5")], [b"xxxxx"]))[1]) == 1


def test_without_gradio_the_page_says_what_to_install(explorer, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(PageError, match=r"pip install 'hf-bnvae\[explore\]'"):
        build_page([explorer])
    with pytest.raises(PageError, match=r"pip install 'hf-bnvae\[explore\]'"):
        pages.check_servable("127.0.0.1")


@pytest.fixture
def address(explorer, make_vae, sentences):
    """Two models side by side, served on loopback."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    page = build_page([explorer, Explorer.of(make_vae(posterior="gaussian"), "two", sentences)])
    yield serve(page, block=False)
    page.close()


def test_the_server_refuses_large_requests_and_a_port_that_is_taken(address, explorer):
    for path, size, status in (("gradio_api/queue/join", 10**6, 413), ("gradio_api/upload", 10**6, 413)):
        request = urllib.request.Request(address + path, b"x" * size, {"Content-Type": "application/json"})
        with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as error:
            urllib.request.urlopen(request, timeout=20)
        assert getattr(error.value, "code", status) == status
    with pytest.raises(PageError, match=r"the page cannot start at 127\.0\.0\.1:\d+"):
        serve(build_page([explorer]), port=int(address.rstrip("/").rsplit(":")[-1]), block=False)


@pytest.mark.parametrize(
    "path", ["gradio_api/file=https://nowhere.invalid/", "gradio_api/upload", "gradio_api/proxy=x"]
)
def test_the_server_takes_and_gives_no_files(address, path):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(address + path, timeout=20)
    assert error.value.code == 404
    assert urllib.request.urlopen(address, timeout=20).status == 200


@pytest.mark.parametrize("host", ["999.1.1.1", "", "a" * 300])
def test_a_host_that_cannot_be_had_is_refused_at_once(host):
    pytest.importorskip("gradio", reason="gradio is not installed")
    with pytest.raises(PageError, match=f"cannot start at {host} .*: name another `host` or `port`"):
        pages.check_servable(host)


def test_a_visitor_types_slides_interpolates_and_samples_in_a_browser(address, explorer, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(address)

    def find(selector):
        return browser.find_element(By.CSS_SELECTOR, selector)

    def value(selector):
        return browser.execute_script("return document.querySelector(arguments[0])?.value", selector)

    def wait(condition):
        WebDriverWait(browser, 60, poll_frequency=0.1).until(lambda _: condition())

    wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#map-0 .cross, #map-1 .cross")) == 2)

    def type_in(text):
        box = find("#sentence textarea")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text)

    before = value("#said-0 textarea")
    sentence = next(one for one in explorer.space.texts if explorer.reconstruct(one)[0] != before)
    type_in(sentence)
    rebuilt = explorer.reconstruct(sentence)[0]
    wait(lambda: value("#said-0 textarea") == rebuilt and find("#near-0 li").text == sentence)

    wait(lambda: value("#z-0-0 input[type=number]") == f"{explorer.reconstruct(sentence)[1][0]:g}")
    for key in (Keys.END, Keys.HOME):
        find("#z-0-0 input[type=range]").send_keys(key)
        values = [explorer.reach if key == Keys.END else -explorer.reach, *explorer.reconstruct(sentence)[1][1:]]
        wait(lambda values=values: value("#moved-0 textarea") == explorer.move(sentence, values)[0])
    wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#map-0 .ring")) == 1)
    assert not browser.find_elements(By.CSS_SELECTOR, "#map-1 .ring")

    type_in(NASTY)
    wait(lambda: find("#near-0 li").text == NASTY)
    assert browser.title == "Text VAE" and not browser.find_elements(By.CSS_SELECTOR, "#near-0 b, #map-0 b")

    browser.execute_script("arguments[0].removeAttribute('maxlength')", find("#sentence textarea"))
    browser.execute_script(
        "arguments[0].value = 'a '.repeat(400); arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        find("#sentence textarea"),
    )
    wait(lambda: "a sentence may have 500 characters here" in find("body").text)

    def open_and_press(tab, button, where):
        browser.execute_script("arguments[0].click()", browser.find_elements(By.CSS_SELECTOR, "button[role=tab]")[tab])
        wait(lambda: browser.find_elements(By.CSS_SELECTOR, button))
        browser.execute_script("arguments[0].click()", find(button))
        for number in (0, 1):
            wait(lambda number=number: browser.find_elements(By.CSS_SELECTOR, f"#{where}-{number} li"))
        return [item.text for item in browser.find_elements(By.CSS_SELECTOR, f"#{where}-0 li")]

    found = open_and_press(1, "#interpolate", "path")
    ends = [value(f"#{end} textarea") for end in ("from", "to")]
    assert found == [text or "(nothing)" for text in explorer.interpolate(*ends, 7)]
    found = open_and_press(2, "#sample", "samples")
    assert found == [text or "(nothing)" for text in explorer.sample(5, 1, 0, 1)]
    names = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith((address, "data:", "blob:")) for name in names)
