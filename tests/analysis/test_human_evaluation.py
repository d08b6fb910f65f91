"""Human evaluation: pages that tell nothing, answers that are checked, and a table that a hand could make."""

import json
import re

import numpy as np
import pytest

from hf_bnvae.analysis import Case
from hf_bnvae.analysis.human_evaluation import (
    CRITERIA,
    AnswersError,
    krippendorff_alpha,
    make_study,
    read_answers,
    read_study,
    render_page,
    score,
    score_table,
    write_study,
)
from hf_bnvae.data import Turn

EVIL = "</script><script>document.title='evil'</script><b>bold</b> & \"quoted\""
CASES = [Case((Turn("A", f"question {number}"),), Turn("B", "answer"), EVIL) for number in range(3)]
RESPONSES = {
    "secret_cvae": [[f"yeah {number}", EVIL] for number in range(3)],
    "secret_bn": [[f"well {number}", "it is a country"] for number in range(3)],
}


@pytest.fixture
def study():
    return make_study(CASES, RESPONSES, annotators=2, seed=4)


def page_data(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*)</script>', page)[1])


def answers(study, annotator=1, grade=lambda item, criterion: 2, **changes) -> dict:
    given = [
        {"item": item, "criterion": criterion, "grade": grade(item, criterion)}
        for item in study.items
        for criterion in CRITERIA
    ]
    return {"study": study.name, "annotator": annotator, "answers": given} | changes


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_page_shows_every_item_once_and_no_model(study, tmp_path):
    pages = write_study(study, tmp_path)
    assert [page.name for page in pages] == ["annotator_1.html", "annotator_2.html"]
    shown = [page_data(page.read_text()) for page in pages]
    for page, data in zip(pages, shown, strict=True):
        assert "secret" not in page.read_text()
        items = {response["item"]: response["text"] for case in data["cases"] for response in case["responses"]}
        assert items == {number: item["response"] for number, item in study.items.items()}
        for case in data["cases"]:
            number = int(case["turns"][0]["text"].split()[1])
            assert all(study.items[response["item"]]["context"] == number for response in case["responses"])
    assert shown[0]["cases"] != shown[1]["cases"]
    assert read_study(tmp_path / "key.json") == study
    assert "http" not in pages[0].read_text().replace("http-equiv", "")


def test_numbers_of_items_do_not_tell_the_model(study):
    models = [item["model"] for item in study.items.values()]
    assert models not in (sorted(models), sorted(models, reverse=True))
    assert make_study(CASES, RESPONSES, 2, seed=4) == study != make_study(CASES, RESPONSES, 2, seed=5)


def test_the_table_is_what_a_hand_would_make_of_it(study, tmp_path):
    def grade(item, criterion):
        if criterion == "fluency":
            return 3
        good = study.items[item]["model"] == "secret_bn"
        return (3 if good else 1) if criterion == "relevance" else 2

    files = [write(tmp_path / "1.json", answers(study, 1, grade)), write(tmp_path / "2.json", answers(study, 2, grade))]
    scores, agreement = score(study, read_answers(study, files))
    cell = scores["secret_bn"]["relevance"]
    assert (cell.average, cell.variance, cell.low, cell.high, cell.acceptable, cell.best) == (3, 0, 3, 3, 1, 1)
    assert scores["secret_cvae"]["relevance"].acceptable == 0
    assert agreement == {"fluency": None, "relevance": 1.0, "informativeness": None}
    table = score_table(scores, agreement)
    assert "| secret_cvae | 3.00 (0.00) [3.00, 3.00] | 100% | 100% | 1.00 (0.00) [1.00, 1.00] | 0% | 0% |" in table
    assert "relevance 1.00" in table


def test_the_interval_is_over_contexts(study, tmp_path):
    files = [write(tmp_path / "1.json", answers(study, grade=lambda item, _: 1 + study.items[item]["context"] % 3))]
    scores, _ = score(study, read_answers(study, files))
    cell = scores["secret_bn"]["fluency"]
    assert cell.average == pytest.approx(2) and cell.variance == pytest.approx(2 / 3)
    assert (cell.low, cell.high) == (1, 3)  # with 3 contexts, all three draws are the same one 1 time in 9


def test_alpha_of_a_hand_worked_case():
    # Nominal and ordinal agree where two of the grades occur: 1 − (N − 1) · disagreeing pairs / products of margins.
    grades = np.array([[1, 1, 2, 2, 1], [1, 1, 2, 1, 1]])
    assert krippendorff_alpha(grades) == pytest.approx(1 - 9 * 2 / (2 * 7 * 3))
    assert krippendorff_alpha(grades[:1]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["answers"].pop(), "is incomplete: 1 of 36 grades are missing, the first is that of item 12"),
        (lambda a: a["answers"].append(a["answers"][0] | {"grade": 3}), "has 2 for fluency before and 3 here"),
        (lambda a: a["answers"][3].update(item="99"), "answer 4: no item of this study"),
        (lambda a: a["answers"][3].update(grade=4), "answer 4: the grade must be 1, 2 or 3, got 4"),
        (lambda a: a["answers"][3].update(grade=True), "answer 4: the grade must be 1, 2 or 3"),
        (lambda a: a["answers"][3].update(grade=2.0), "answer 4: the grade must be 1, 2 or 3"),
        (lambda a: a["answers"][3].update(criterion="style"), "no criterion 'style'"),
        (lambda a: a["answers"][3].update(criterion=["fluency"]), "no criterion ['fluency']"),
        (lambda a: a.update(annotator=True), "is of annotator True"),
        (lambda a: a.update(study="other"), "answers the study 'other'"),
        (lambda a: a.update(annotator=3), "is of annotator 3, and there are 1 to 2"),
        (lambda a: a.pop("answers"), "is no file of answers"),
    ],
)
def test_answers_that_cannot_be_scored_are_named(change, message, study, tmp_path):
    content = answers(study)
    change(content)
    path = write(tmp_path / "mine.json", content)
    with pytest.raises(AnswersError) as error:
        read_answers(study, [path])
    assert "mine.json" in str(error.value) and message in str(error.value)


def test_two_files_of_one_annotator_and_no_file_are_refused(study, tmp_path):
    one, two = (write(tmp_path / name, answers(study)) for name in ("a.json", "b.json"))
    with pytest.raises(AnswersError, match=r"b\.json and .*a\.json are both of annotator 1"):
        read_answers(study, [one, two])
    with pytest.raises(AnswersError, match="does not exist"):
        read_answers(study, [tmp_path / "none.json"])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(AnswersError, match=r"bad\.json is no JSON file"):
        read_answers(study, [tmp_path / "bad.json"])
    with pytest.raises(AnswersError, match="no key of a study"):
        read_study(one)
    with pytest.raises(AnswersError, match=r"a\.json/x cannot be read: Not a directory"):
        read_study(one / "x")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"model": "m"}, "the context or the model of item 1 is wrong"),
        ({"model": "m", "context": 3}, "the context or the model of item 1 is wrong"),
        ({"context": 0}, "the context or the model of item 1 is wrong"),
        ([], "the context or the model of item 1 is wrong"),
        (None, "it has no items"),
    ],
)
def test_a_key_with_a_wrong_item_is_refused(tmp_path, item, message):
    items = {} if item is None else {"1": item}
    path = write(tmp_path / "key.json", {"study": "s", "annotators": 1, "items": items, "cases": [{}, {}, {}]})
    with pytest.raises(AnswersError, match=message) as error:
        read_study(path)
    assert "key.json" in str(error.value)


def test_a_page_is_filled_reloaded_downloaded_and_scored_in_a_browser(study, tmp_path, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    page = tmp_path / "annotator_1.html"
    page.write_text(render_page(study, 1))
    browser.get(page.as_uri())
    assert browser.title == "Judging responses" and not browser.find_elements(By.CSS_SELECTOR, ".said b")
    assert EVIL in browser.find_element(By.ID, "case").text

    def progress():
        return browser.find_element(By.ID, "progress").text

    def grade_all():
        for radio in browser.find_elements(By.CSS_SELECTOR, "input[type=radio][value='3']"):
            browser.execute_script("arguments[0].click()", radio)

    def press(name):
        browser.execute_script("arguments[0].click()", browser.find_element(By.ID, name))

    assert progress() == "Conversation 1 of 3; 0 of 36 grades given"
    grade_all()
    press("next")
    assert progress() == "Conversation 2 of 3; 12 of 36 grades given"
    browser.refresh()
    assert progress() == "Conversation 2 of 3; 12 of 36 grades given"
    press("back")
    assert len(browser.find_elements(By.CSS_SELECTOR, "input:checked[value='3']")) == 12
    assert len(browser.find_elements(By.CSS_SELECTOR, ".response.done")) == 4
    for _ in range(2):
        press("next")
        grade_all()
    assert progress() == "Conversation 3 of 3; 36 of 36 grades given"
    press("download")
    file = tmp_path / "answers_1.json"
    WebDriverWait(browser, 20).until(lambda _: file.exists() and file.stat().st_size)
    scores, _ = score(study, read_answers(study, [file]))
    assert all(cell.average == 3 for row in scores.values() for cell in row.values())
