"""Human evaluation of responses: blind pages for annotators, and Table 5 of the paper from what they send back.

A study is two things: `key.json`, which says what is behind each item and stays with whoever runs the study, and one
page for each annotator, which shows items without it, in an order of its own.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .case_study import Case

CRITERIA = {
    "fluency": (
        "Fluency",
        "Is it good language, taken by itself?",
        (
            "hard to make out, or full of mistakes",
            "can be understood: some mistakes, or no more than a stock phrase",
            "reads well and is of a normal length; a slip at most",
        ),
    ),
    "relevance": (
        "Relevance",
        "Does it answer what was said?",
        (
            "has nothing to do with it",
            "about the same thing, but no answer to it; or an answer that fits anything",
            "takes up what was said",
        ),
    ),
    "informativeness": (
        "Informativeness",
        "Does it say something?",
        (
            "nothing: a stock phrase, or what was said once more",
            "a little",
            "something of its own: new, concrete or surprising",
        ),
    ),
}
GRADES = (1, 2, 3)
BOOTSTRAP_SAMPLES = 2000
TEMPLATE = Path(__file__).with_name("human_evaluation.html")


class AnswersError(ValueError):
    """Answers that cannot be scored: one sentence that names the file and what is wrong in it."""


@dataclass(frozen=True)
class Study:
    """What the annotators grade.

    Args:
        name: of the study; answers of another one are refused.
        items: for each item's number, as a string, its `context`, its `model` and its `response`.
        cases: the contexts.
        annotators: how many pages there are.
    """

    name: str
    items: dict[str, dict]
    cases: list[dict]
    annotators: int

    @property
    def models(self) -> list[str]:
        return sorted({item["model"] for item in self.items.values()})


def make_study(
    cases: Sequence[Case], responses: Mapping[str, Sequence[Sequence[str]]], annotators: int, seed: int = 0
) -> Study:
    """A study of every response of every model to every case; items are numbered in an order that says nothing."""
    everything = [
        {"context": number, "model": model, "response": text}
        for number in range(len(cases))
        for model, rows in responses.items()
        for text in rows[number]
    ]
    generator = random.Random(seed)
    generator.shuffle(everything)
    shown = [
        {
            "topic": case.topic,
            "turns": [{"speaker": turn.speaker, "text": turn.text} for turn in case.context],
            "speaker": case.response.speaker,
        }
        for case in cases
    ]
    name = f"{len(everything)}-items-{generator.getrandbits(48):012x}"
    return Study(name, {str(number): item for number, item in enumerate(everything, start=1)}, shown, annotators)


def write_study(study: Study, folder: Path) -> list[Path]:
    """`key.json` and a page for each annotator, `annotator_1.html` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    key = {"study": study.name, "annotators": study.annotators, "items": study.items, "cases": study.cases}
    (folder / "key.json").write_text(json.dumps(key, indent=1, ensure_ascii=False), encoding="utf-8")
    pages = [folder / f"annotator_{number}.html" for number in range(1, study.annotators + 1)]
    for number, page in enumerate(pages, start=1):
        page.write_text(render_page(study, number), encoding="utf-8")
    return pages


def render_page(study: Study, annotator: int) -> str:
    """The page of one annotator, complete in itself: contexts in an order of its own, and in each the responses."""
    generator = random.Random(f"{study.name}-{annotator}")
    by_context: dict[int, list[dict]] = {}
    for number, item in study.items.items():
        by_context.setdefault(item["context"], []).append({"item": number, "text": item["response"]})
    contexts = list(by_context)
    generator.shuffle(contexts)
    for items in by_context.values():
        generator.shuffle(items)
    data = {
        "study": study.name,
        "annotator": annotator,
        "criteria": [
            {"name": name, "title": title, "question": question, "grades": list(grades)}
            for name, (title, question, grades) in CRITERIA.items()
        ],
        "cases": [study.cases[context] | {"responses": by_context[context]} for context in contexts],
    }
    # Inside a script nothing is markup but "</", and "<!--".
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{data}}", content)


def read_study(path: Path) -> Study:
    """The study behind a `key.json`.

    Raises:
        AnswersError: when it is none.
    """
    content = _read_json(path)
    for name, kind in (("study", str), ("items", dict), ("cases", list), ("annotators", int)):
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise AnswersError(f"{path} is no key of a study: {name} is missing or wrong")
    contexts = range(len(content["cases"]))
    for number, item in content["items"].items():
        known = isinstance(item, dict) and type(item.get("context")) is int and item["context"] in contexts
        if not known or not isinstance(item.get("model"), str):
            raise AnswersError(f"{path} is no key of a study: the context or the model of item {number} is wrong")
    if not content["items"]:
        raise AnswersError(f"{path} is no key of a study: it has no items")
    return Study(content["study"], content["items"], content["cases"], content["annotators"])


def read_answers(study: Study, paths: Sequence[Path]) -> dict[int, dict[str, dict[str, int]]]:
    """The grades of each annotator, by item and criterion.

    Raises:
        AnswersError: for a file of another study, an unknown item or grade, an item without a grade, two files of one
            annotator, and grades that contradict each other.
    """
    grades: dict[int, dict[str, dict[str, int]]] = {}
    sources: dict[int, Path] = {}
    for path in paths:
        content = _read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("answers"), list):
            raise AnswersError(f"{path} is no file of answers: download it from the annotator's page")
        if content.get("study") != study.name:
            raise AnswersError(f"{path} answers the study {content.get('study')!r}, and the key is of {study.name!r}")
        annotator = content.get("annotator")
        if type(annotator) is not int or not 1 <= annotator <= study.annotators:
            raise AnswersError(f"{path} is of annotator {annotator!r}, and there are 1 to {study.annotators}")
        if annotator in grades:
            raise AnswersError(f"{path} and {sources[annotator]} are both of annotator {annotator}: keep one")
        grades[annotator], sources[annotator] = _grades(study, content["answers"], path), path
    if not grades:
        raise AnswersError("no files of answers")
    return grades


def _grades(study: Study, answers: list, path: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {item: {} for item in study.items}
    for number, answer in enumerate(answers, start=1):
        where = f"{path}, answer {number}"
        if not isinstance(answer, dict) or str(answer.get("item")) not in grades:
            raise AnswersError(f"{where}: no item of this study")
        item, criterion, grade = str(answer["item"]), answer.get("criterion"), answer.get("grade")
        if not isinstance(criterion, str) or criterion not in CRITERIA:
            raise AnswersError(f"{where}: no criterion {criterion!r}; there are {', '.join(CRITERIA)}")
        if type(grade) is not int or grade not in GRADES:
            raise AnswersError(f"{where}: the grade must be 1, 2 or 3, got {grade!r}")
        if grades[item].setdefault(criterion, grade) != grade:
            raise AnswersError(
                f"{where}: item {item} has {grades[item][criterion]} for {criterion} before and {grade} here"
            )
    missing = [(item, criterion) for item, given in grades.items() for criterion in CRITERIA if criterion not in given]
    if missing:
        item, criterion = missing[0]
        raise AnswersError(
            f"{path} is incomplete: {len(missing)} of {len(grades) * len(CRITERIA)} grades are missing, the first is "
            f"that of item {item} for {criterion}"
        )
    return grades


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnswersError(f"{path} does not exist") from None
    except OSError as error:
        raise AnswersError(f"{path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnswersError(f"{path} is no JSON file: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class Score:
    """One cell of the paper's Table 5.

    Args:
        average, variance: of all grades.
        low, high: a 95% interval of the average, by bootstrap over contexts.
        acceptable, best: the share of grades of at least 2, and of 3.
    """

    average: float
    variance: float
    low: float
    high: float
    acceptable: float
    best: float


def score(study: Study, answers: Mapping[int, Mapping[str, Mapping[str, int]]], seed: int = 0):
    """A `Score` for each model and criterion, and Krippendorff's α of each criterion where two annotators graded."""
    items = list(study.items)
    context_of = np.array([study.items[item]["context"] for item in items])
    model_of = np.array([study.items[item]["model"] for item in items])
    drawn = np.random.default_rng(seed).integers(0, len(study.cases), (BOOTSTRAP_SAMPLES, len(study.cases)))
    scores: dict[str, dict[str, Score]] = {model: {} for model in study.models}
    agreement: dict[str, float | None] = {}
    for criterion in CRITERIA:
        grades = np.array([[given[item][criterion] for item in items] for given in answers.values()])
        agreement[criterion] = krippendorff_alpha(grades)
        for model in study.models:
            own = model_of == model
            values, contexts = grades[:, own], context_of[own]
            sums = np.bincount(contexts, weights=values.sum(0), minlength=len(study.cases))
            counts = np.bincount(contexts, minlength=len(study.cases)) * len(values)
            low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
            scores[model][criterion] = Score(
                float(values.mean()),
                float(values.var()),
                float(low),
                float(high),
                float((values >= 2).mean()),
                float((values == 3).mean()),
            )
    return scores, agreement


def krippendorff_alpha(grades: np.ndarray) -> float | None:
    """Krippendorff's α, ordinal, of `(annotators, items)` grades; None where nothing could disagree."""
    if len(grades) < 2 or len(np.unique(grades)) < 2:
        return None
    try:
        import krippendorff
    except ImportError as error:
        raise AnswersError("Krippendorff's α takes a package: pip install 'hf-bnvae[dialogue]'") from error
    return float(krippendorff.alpha(grades, level_of_measurement="ordinal", value_domain=list(GRADES)))


def score_table(scores: Mapping[str, Mapping[str, Score]], agreement: Mapping[str, float | None]) -> str:
    """The paper's Table 5 in Markdown, and the agreement under it."""
    lines = [
        "| model | " + " | ".join(f"{title} | ≥ 2 | = 3" for title, _, _ in CRITERIA.values()) + " |",
        "|---|" + "---:|" * (3 * len(CRITERIA)),
    ]
    for model, row in scores.items():
        cells = [
            f"{cell.average:.2f} ({cell.variance:.2f}) [{cell.low:.2f}, {cell.high:.2f}] | "
            f"{cell.acceptable:.0%} | {cell.best:.0%}"
            for cell in row.values()
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    said = ", ".join(
        f"{CRITERIA[name][0].lower()} " + ("–" if value is None else f"{value:.2f}")
        for name, value in agreement.items()
    )
    lines += [
        "",
        "Average (variance) [95% interval of the average, by bootstrap over contexts], and the shares of grades.",
        f"Krippendorff's α, ordinal: {said}.",
    ]
    return "\n".join(lines)
