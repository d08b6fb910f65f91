"""The page: what a visitor gets is what the model gives, within limits, and nothing that is typed becomes markup."""

import asyncio
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from hf_bnvae.analysis import page as pages
from hf_bnvae.analysis.page import Explorer, PageError, SizeLimit, build_page, serve
from tests.analysis.conftest import EVIL

NASTY = EVIL + " ${document.title='evil'} {{title}} `x`"


@pytest.fixture
def explorer(make_vae, sentences):
    return Explorer.of(make_vae(), "one", [*sentences, NASTY])


def test_a_sentence_is_reconstructed_and_placed(explorer, sentences):
    vae = explorer.space.pipeline
    said, values, drawn = explorer.reconstruct("  a b\nc ")
    latent = vae.encode("a b c")[0]
    assert [said] == vae.reconstruct("a b c", max_new_tokens=pages.MAX_NEW_TOKENS)
    assert values == [pytest.approx(float(latent[number]), abs=0.006) for number in explorer.strongest]
    assert drawn.count("cross") == 1 and "ring" not in drawn
    assert explorer.neighbours(sentences[4])[0] == sentences[4]


def test_no_neighbour_comes_twice(make_vae, sentences):
    near = Explorer.of(make_vae(), "one", sentences * 3).neighbours(sentences[4])
    assert near[0] == sentences[4] and len(set(near)) == pages.NEAREST


@pytest.mark.parametrize("posterior", ["batch_norm", "vmf"])
def test_a_slider_moves_its_dimension_alone(make_vae, sentences, posterior):
    explorer = Explorer.of(make_vae(posterior=posterior), "one", sentences)
    vae, unit = explorer.space.pipeline, explorer.space.unit
    latent = vae.encode("a b c")[0]
    latent[explorer.strongest] = torch.tensor([2.5, -1, 0, 0.5]) * unit
    latent = latent / latent.norm() if posterior == "vmf" else latent
    said, drawn = explorer.move("a b c", [2.5, -1, 0, 0.5])
    assert [said] == vae.decode(latent.unsqueeze(0), max_new_tokens=pages.MAX_NEW_TOKENS)
    assert drawn.count("cross") == drawn.count("ring") == 1


def test_no_value_lies_where_its_slider_cannot_go(explorer, sentences):
    short = replace(explorer, reach=0.25)
    for text in sentences[:9]:
        _, values, _ = short.reconstruct(text)
        assert all(-0.25 <= value <= 0.25 for value in values) and short.move(text, values)


def test_a_path_has_both_ends(explorer):
    path = explorer.interpolate("a b c", "j i", 4)
    ends = explorer.space.pipeline.reconstruct(["a b c", "j i"], max_new_tokens=pages.MAX_NEW_TOKENS)
    assert len(path) == 4 and [path[0], path[-1]] == ends


@pytest.mark.parametrize("temperature", [0, 1])
def test_samples_repeat_by_their_seed_and_leave_the_random_numbers_of_others_alone(explorer, temperature):
    before = torch.get_rng_state()
    first, again, other = (explorer.sample(6, 1, temperature, seed) for seed in (3, 3, 4))
    assert first == again != other and torch.equal(torch.get_rng_state(), before)
    if not temperature:
        assert len(set(explorer.sample(6, 0, 0, 3))) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda one: one.reconstruct(" \n"), "Type a sentence first."),
        (lambda one: one.reconstruct(None), "Type a sentence first."),
        (lambda one: one.reconstruct("a" * 501), "That is too long: a sentence may have 500 characters here."),
        (lambda one: one.move("a", [0, 0, 0, 1e9]), "A number from -"),
        (lambda one: one.move("a", [0, 0, 0, float("nan")]), "A number from -"),
        (lambda one: one.interpolate("a", "b", 10**6), "A number from 2 to 11 belongs there."),
        (lambda one: one.interpolate("a", "", 3), "Type a sentence first."),
        (lambda one: one.sample(10**6, 1, 0, 1), "A number from 1 to 10 belongs there."),
        (lambda one: one.sample(1, 1, "hot", 1), "A number from 0 to 1.5 belongs there."),
        (lambda one: one.sample(1, 1, 0, None), "A number from 0 to 1000 belongs there."),
    ],
)
def test_what_cannot_be_had_is_said_without_repeating_it(explorer, asked, message):
    with pytest.raises(PageError) as error:
        asked(explorer)
    assert message in str(error.value)


def test_the_map_is_whole_and_holds_no_markup_of_others(explorer):
    drawn = explorer.map(torch.full((4,), 1e6))
    root = ElementTree.fromstring(drawn)
    assert len(root) == 62 and root[60][0].text == NASTY
    assert EVIL not in drawn and not set("{$`") & set(drawn)
    for mark in root.iter("circle"):
        assert 0 <= float(mark.get("cx")) <= pages.MAP_WIDTH and 0 <= float(mark.get("cy")) <= pages.MAP_HEIGHT
    assert pages.lines([NASTY, ""]) == f'<ol class="texts"><li>{pages.escaped_html(NASTY)}</li><li>(nothing)</li></ol>'


def test_a_collapsed_posterior_looks_like_one(make_vae, sentences):
    vae = make_vae(posterior="gaussian")
    vae.model.model.posterior.mean.weight.data *= 1e-3
    explorer = Explorer.of(vae, "one", sentences)
    places = [float(mark.get("cx")) for mark in ElementTree.fromstring(explorer.map()).iter("circle")]
    assert max(places) - min(places) < 0.01 * pages.MAP_WIDTH and "has collapsed" in explorer.verdict


def test_without_sentences_the_model_speaks_for_itself(make_vae, monkeypatch):
    monkeypatch.setattr(pages, "OWN_SENTENCES", 12)
    first, again = (Explorer.of(make_vae(initializer_range=0.01), "one").space.texts for _ in range(2))
    assert len(first) == len(again) == 12


def test_labels_have_colours(make_vae, sentences):
    explorer = Explorer.of(make_vae(), "one", sentences, [row % 7 for row in range(60)])
    colours = {mark.get("fill") for mark in ElementTree.fromstring(explorer.map()).iter("circle")}
    assert colours == {*pages.COLOURS, pages.OTHER_COLOUR}


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
