"""human_eval.py: from trained models to pages, and from answers to Table 5."""

import json

import pytest

from hf_bnvae.analysis.human_evaluation import CRITERIA
from hf_bnvae.cli import dialogue, human_eval
from hf_bnvae.cli.errors import UsageError
from tests.cli.test_dialogue import flags


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for method in ("cvae", "bn_cvae"):
        dialogue.main(flags(folder / method, method=method, max_steps=2, num_responses=0, num_cases=0))
    return [str(folder / "cvae"), str(folder / "bn_cvae")]


def export(models, output_dir, *more):
    sizes = ("--num_contexts", "5", "--num_responses", "2", "--annotators", "2")
    corpus = ("--dataset_name", "toy_dialogues", "--output_dir", str(output_dir))
    human_eval.main(["export", "--models", *models, *corpus, *sizes, *more])


def test_a_study_is_exported_and_scored(models, tmp_path, capsys):
    export(models, tmp_path / "study")
    assert "2 pages of 20 responses to 5 contexts" in capsys.readouterr().out
    key = json.loads((tmp_path / "study" / "key.json").read_text())
    assert {item["model"] for item in key["items"].values()} == {"cvae", "bn_cvae"}
    assert all("bn_cvae" not in page.read_text() for page in (tmp_path / "study").glob("*.html"))
    files = []
    for annotator in (1, 2):
        grades = [
            {"item": item, "criterion": name, "grade": 1 + int(item) % 3} for item in key["items"] for name in CRITERIA
        ]
        path = tmp_path / f"answers_{annotator}.json"
        path.write_text(json.dumps({"study": key["study"], "annotator": annotator, "answers": grades}))
        files.append(str(path))
    command = ["score", "--key", str(tmp_path / "study" / "key.json"), "--answers"]
    human_eval.main([*command, *files])
    printed = capsys.readouterr().out
    assert "| bn_cvae | " in printed and "fluency 1.00" in printed and "2 of 2 annotators" in printed
    with pytest.raises(UsageError, match="are both of annotator 1"):
        human_eval.main([*command, files[0], files[0]])
    with pytest.raises(UsageError, match="already holds a study"):
        export(models, tmp_path / "study")


def test_what_cannot_be_exported_is_said_in_one_sentence(models, tmp_path):
    with pytest.raises(UsageError, match="the test split has 711 responses"):
        export(models, tmp_path / "a", "--num_contexts", "712")
    with pytest.raises(UsageError, match="two folders have the same name"):
        export([models[0], models[0]], tmp_path / "a")
    with pytest.raises(UsageError, match="--models nowhere: no model there"):
        export(["nowhere"], tmp_path / "a")
    with pytest.raises(UsageError, match="say what to do: export or score"):
        human_eval.main([])
    assert not (tmp_path / "a").exists()
