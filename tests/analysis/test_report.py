"""The report: complete in itself, nothing on it is markup, and its numbers are those of the functions."""

import json
import re

import pytest
import torch

from hf_bnvae.analysis import dimensions, read_latent_space, verdict, write_report
from hf_bnvae.analysis.latent_space import examples
from tests.analysis.conftest import EVIL


def page_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*)</script>\n<script>', page)[1])


@pytest.fixture
def labels(sentences):
    return ["with" if "a" in text else EVIL for text in sentences]


@pytest.fixture
def write(make_vae, sentences, tmp_path):
    def make(texts=sentences, labels=None, **changes):
        space = read_latent_space(make_vae(**changes), texts, labels)
        write_report(space, tmp_path / "new" / "report.html", EVIL, ["one note"], max_new_tokens=6)
        return space, (tmp_path / "new" / "report.html")

    return make


def test_the_page_loads_nothing_and_holds_no_markup_of_others(write, sentences, labels):
    _, path = write([EVIL, *sentences], ["with", *labels])
    page = path.read_text()
    assert "http:" not in page and "https:" not in page and "//" not in re.sub(r"(?m)^\s*// .*$", "", page)
    assert not re.search(r"<(link|img|iframe|object|embed|base)|@import|url\(|\bsrc=|\bhref=|fetch\(", page)
    assert "default-src 'none'" in page
    assert EVIL not in page and page.count("</script>") == 2
    assert page_data(page)["texts"][0] == page_data(page)["name"] == EVIL


def test_the_numbers_are_those_of_the_functions(write, labels):
    space, path = write(labels=labels)
    data = page_data(path.read_text())
    assert (data["collapsed"], data["verdict"]) == verdict(space)
    assert data["metrics"] == pytest.approx(space.metrics, rel=1e-4)
    ranked = sorted(dimensions(space), key=lambda one: -one.strength)
    assert [one["number"] for one in data["dimensions"]] == [one.number for one in ranked]
    for shown, one in zip(data["dimensions"], ranked, strict=True):
        for name in ("kl", "bound", "promised", "with_length", "with_label"):
            assert shown[name] == pytest.approx(getattr(one, name), rel=1e-4, abs=1e-9)
    assert len(data["maps"][0]["points"]) == len(data["neighbours"]) == len(data["lengths"]) == 60
    assert {row["number"] for row in data["traversals"]["texts"]} == {0, 1, 2, 3}
    row = data["arithmetic"]["rows"][0]
    assert data["labels"][row["place"]] == data["arithmetic"]["away_from"] and len(row["texts"]) == 3
    path = data["interpolations"][0]
    ends = [space.texts[path["from"]], space.texts[path["to"]]]
    assert [path["texts"][0], path["texts"][-1]] == space.pipeline.reconstruct(ends, max_new_tokens=6)


def test_the_same_sentences_give_the_same_page(write, labels):
    pages = []
    for _ in range(2):
        torch.manual_seed(0)
        pages.append(write(labels=labels)[1].read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"posterior": "vmf"}, "has one concentration in the place of variances"),
        ({}, "These sentences have no labels"),
        ({"labels": [0] * 60}, "All sentences have the same label"),
        ({"texts": ["a b c"], "labels": ["x"], "posterior": "gaussian"}, "All sentences have the same label"),
        ({"texts": ["a " * 30, "b"]}, "1 sentences were cut at 20 tokens"),
        ({"texts": ["a b", "a x"]}, "25.0% of the words are unknown to the model"),
    ],
)
def test_what_is_missing_is_said(write, changes, said):
    data = page_data(write(**changes)[1].read_text())
    assert any(said in note for note in data["notes"]) and data["notes"][0] == "one note"
    assert data["arithmetic"] is None


def test_labels_that_are_numbers_go_from_the_lower_to_the_higher(write, sentences):
    data = page_data(write(labels=[10 if "a" in text else 9 for text in sentences])[1].read_text())
    assert (data["arithmetic"]["away_from"], data["arithmetic"]["towards"]) == ("9", "10")


def test_examples_are_different_and_of_usual_length(make_vae, sentences):
    space = read_latent_space(make_vae(), sentences * 2, ["x", "y"] * 60)
    chosen = examples(space, 6)
    assert len({space.texts[place] for place in chosen}) == 6
    assert all(4 <= space.lengths[place] <= 8 for place in chosen)
    assert all(space.labels[place] == "x" for place in examples(space, 50, "x"))


def test_a_page_is_read_coloured_and_clicked_in_a_browser(write, sentences, labels, browser):
    from selenium.webdriver.common.by import By

    _, path = write([*sentences, EVIL], [*labels, "with"])
    browser.get(path.as_uri())
    assert browser.title == f"{EVIL}: latent space" and not browser.find_elements(By.CSS_SELECTOR, "body b")
    assert browser.get_log("browser") == []

    def script(text):
        return browser.execute_script(f"return {text}")

    assert script("document.querySelectorAll('#map path').length") == 61
    assert EVIL in browser.find_element(By.ID, "key").text
    before = script("document.querySelector('#map path').getAttribute('style')")
    browser.execute_script("document.querySelectorAll('#colours input')[1].click()")
    assert script("document.querySelector('#map path').getAttribute('style')") != before
    browser.execute_script(
        "const map = document.getElementById('map'), box = map.getBoundingClientRect(), scale = box.width / 620;"
        "const at = {clientX: box.left + state.at[60][0] * scale, clientY: box.top + state.at[60][1] * scale};"
        "for (const kind of ['pointermove', 'click']) map.dispatchEvent(new MouseEvent(kind, at))"
    )
    assert EVIL in browser.find_element(By.ID, "chosen").text and EVIL in script(
        "document.getElementById('hint').textContent"
    )
    assert script("document.querySelectorAll('#map text').length") > 4
    assert script("document.getElementById('hint').offsetHeight") < 250
    loaded = script("performance.getEntriesByType('resource').length")
    assert loaded == 0
    assert script("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_long_sentence_leaves_the_page_its_height(write, sentences, browser):
    _, path = write([f"a b {'x' * 20_000}", *sentences])
    browser.get(path.as_uri())
    assert browser.execute_script("return document.getElementById('chosen').offsetHeight") < 700


@pytest.mark.parametrize("changes", [{"posterior": "vmf"}, {"texts": ["a b c"], "posterior": "gaussian"}])
def test_a_page_with_parts_left_out_draws_the_others_in_a_browser(write, browser, changes):
    from selenium.webdriver.common.by import By

    browser.get(write(**changes)[1].as_uri())
    assert browser.get_log("browser") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, "#notes li")) >= 2
    assert not browser.find_element(By.ID, "arithmetic-title").is_displayed()
    assert browser.find_element(By.ID, "bounds").is_displayed() == (changes["posterior"] != "vmf")
