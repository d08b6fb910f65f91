"""hf-bnvae dialogue end to end: every method trains, resumes, answers and is judged; bad input gets one sentence."""

import json

import pandas as pd
import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file

from hf_bnvae import DialoguePipeline
from hf_bnvae.cli import dialogue, evaluate_dialogue
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.data import CorpusError, Dialogue, DialogueCorpus, Turn, build_tokenizer, load_dialogues, load_tokenizer
from hf_bnvae.evaluation.references import reference_responses
from hf_bnvae.methods import DIALOGUE_METHODS
from hf_bnvae.runs.loading import DIALOGUE_MODELS, load_model

SMALL = {
    "dataset_name": "toy_dialogues",
    "max_train_samples": 20,
    "max_eval_samples": 4,
    "embedding_size": 6,
    "utterance_hidden_size": 5,
    "context_hidden_size": 6,
    "hidden_size": 8,
    "latent_size": 3,
    "prior_hidden_size": 4,
    "num_train_epochs": 2,
    "num_responses": 3,
    "num_cases": 2,
    "per_device_train_batch_size": 16,
    "disable_tqdm": True,
}


def flags(output_dir, **changes) -> list[str]:
    settings = SMALL | {"output_dir": output_dir} | changes
    return [
        text for name, value in settings.items() if value is not None for text in (f"--{name}", *str(value).split())
    ]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    words = ("i", "the", "it", "you", "what", "nowhere")
    path.write_text("".join(f"{word} {place} {place % 3 - 1} 1 0 0 2\n" for place, word in enumerate(words)))
    return path


@pytest.mark.parametrize("name", DIALOGUE_METHODS)
def test_a_method_trains_resumes_answers_and_is_judged(name, tmp_path, vectors):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    changes = {"method": name, "word_vectors": vectors, "save_total_limit": 5, "nll_samples": 3}
    dialogue.main(flags(whole, **changes))
    first = min(whole.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    dialogue.main(flags(resumed, **changes, resume_from_checkpoint=first, compare_with=whole))
    weights, again = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    for key in weights:
        assert torch.equal(weights[key], again[key]), key
    results, same = (json.loads((folder / "all_results.json").read_text()) for folder in (whole, resumed))
    judged = ("elbo", "kl", "kl_prior", "rec_ppl", "nll", "ppl", "bleu_precision", "abow_recall", "ebow_precision")
    for metric in (*judged, "distinct_1", "distinct_2", "average_length"):
        assert results[f"test_{metric}"] == same[f"test_{metric}"]
    assert ("test_bow_loss" in results) is (name == "cvae_bow")
    model, tokenizer = load_model(str(whole), models=DIALOGUE_MODELS), load_tokenizer(str(whole))
    ids = tokenizer(["do you have any pets"], return_tensors="pt")["input_ids"]
    assert model.sample(4, ids, max_new_tokens=5).shape[0] == 4
    study = (resumed / "samples.md").read_text()
    assert "| | resumed | whole |" in study and study.count("Target (") == 2
    rows = [line.split(" | ") for line in study.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(rows) == 6 and all(row[1] == row[2].removesuffix(" |") for row in rows)


def test_a_finished_model_is_judged_again_as_its_run_judged_it(tmp_path, vectors, monkeypatch, capsys, caplog):
    judge = {"word_vectors": vectors, "nll_samples": 3, "num_cases": 2}
    for name in ("one", "other"):
        dialogue.main(flags(tmp_path / name, **judge, max_steps=2, method="cvae_bow" if name == "one" else "bn_cvae"))
    files = {"output_file": tmp_path / "judged.json", "samples_file": tmp_path / "new" / "side.md"}
    settings = {
        name: SMALL[name] for name in ("dataset_name", "max_eval_samples", "max_train_samples", "num_responses")
    }
    settings |= judge | files | {"model_name_or_path": tmp_path / "one", "compare_with": tmp_path / "other"}
    evaluate_dialogue.main([text for name, value in settings.items() for text in (f"--{name}", str(value))])
    judged = json.loads((tmp_path / "judged.json").read_text())
    results = json.loads((tmp_path / "one" / "all_results.json").read_text())
    known = judged["test_word_vectors_known"]
    assert 0 < known < 0.8 and f"vectors.txt know {known:.0%} of the words of the references" in caplog.text
    assert judged.pop("test_word_vectors") == results.pop("test_word_vectors")
    assert judged == {name: pytest.approx(results[name], rel=1e-5) for name in judged}
    assert judged.keys() == {name for name in results if name.startswith("test_")}
    assert "| | one | other |" in (tmp_path / "new" / "side.md").read_text()
    for path in files.values():
        path.unlink()
    capsys.readouterr()
    with monkeypatch.context() as other_process:
        other_process.setattr(PartialState, "is_main_process", property(lambda self: False))
        evaluate_dialogue.main([text for name, value in settings.items() for text in (f"--{name}", str(value))])
    assert not any(path.exists() for path in files.values()) and capsys.readouterr().out == ""
    with pytest.raises(UsageError, match="--compare_with shows other models in --samples_file"):
        evaluate_dialogue.main(["--model_name_or_path", "one", "--num_cases", "2", "--compare_with", "other"])
    with pytest.raises(UsageError, match="--samples_file shows --num_cases contexts, which is 0: raise it"):
        evaluate_dialogue.main(["--model_name_or_path", "one", "--num_cases", "0", "--samples_file", "s.md"])
    with pytest.raises(UsageError, match=r"--samples_file .* is a folder: name a file"):
        evaluate_dialogue.main(["--model_name_or_path", "one", "--samples_file", str(tmp_path)])


def test_utterances_are_cut_as_in_the_training_unless_another_length_is_named(tmp_path, caplog):
    folder = tmp_path / "run"
    dialogue.main(flags(folder, max_utterance_length=6, max_steps=1, num_responses=0))
    results = json.loads((folder / "all_results.json").read_text())
    settings = {"model_name_or_path": folder, "dataset_name": "toy_dialogues", "max_eval_samples": 4}
    settings |= {"num_responses": 0, "num_cases": 0, "nll_samples": 3, "max_nll_samples": 4, "batch_size": 3}
    files = {"output_file": tmp_path / "judged.json", "scores_file": tmp_path / "new" / "scores.csv"}
    argv = [text for name, value in (settings | files).items() for text in (f"--{name}", str(value))]
    caplog.clear()
    evaluate_dialogue.main(argv)
    judged = json.loads(files["output_file"].read_text())
    assert judged["test_elbo"] == pytest.approx(results["test_elbo"], rel=1e-5) and "compare" not in caplog.text
    scores = pd.read_csv(files["scores_file"])
    corpus = load_dialogues("toy_dialogues", max_dialogues={"test": 4})
    assert scores["text"].tolist() == [row.turns[turn].text for row, turn in corpus.responses("test")]
    assert scores["tokens"].tolist() == [min(len(text.split()) + 1, 5) for text in scores["text"]]
    for column in ("nll", "rec", "kl", "kl_prior", "elbo"):
        assert scores[column].mean() == pytest.approx(judged[f"test_{column}"], abs=1e-4), column
    assert scores["nll"].notna().sum() == 4 and scores["nll"][:4].notna().all()
    chat = DialoguePipeline.from_pretrained(str(folder))
    assert chat.max_length == 6 and DialoguePipeline.from_pretrained(str(folder), max_length=9).max_length == 9
    assert chat.respond(["one two three four five six"]) == chat.respond(["one two three four nine ten"])
    evaluate_dialogue.main([*argv, "--max_utterance_length", "12"])
    assert json.loads(files["output_file"].read_text())["test_elbo"] > judged["test_elbo"]
    assert "cut at 12 tokens and were cut at 6 in the training" in caplog.text


def test_word_vectors_to_start_from_and_topics_travel_with_the_model(tmp_path, vectors, caplog):
    changes = {"initial_word_vectors": vectors, "topic_embedding": True, "num_responses": 0, "learning_rate": 0}
    dialogue.main(flags(tmp_path / "run", **changes, num_cases=0, max_steps=1, report_to="none"))
    assert "5 of 164 words start from vectors.txt" in caplog.text
    model, tokenizer = load_model(str(tmp_path / "run"), models=DIALOGUE_MODELS), load_tokenizer(str(tmp_path / "run"))
    vector = model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("you")]
    assert vector.tolist() == [3, -1, 1, 0, 0, 2]
    assert model.config.topics == ["food", "pets", "weather", "work"]
    assert not (tmp_path / "run" / "samples.md").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_name": None}, "no data: pass --dataset_name"),
        ({"dataset_name": None, "train_file": "none.jsonl"}, "none.jsonl does not exist"),
        ({"gamma": 0}, "--gamma must be a finite number above 0"),
        ({"method": "cvae", "gamma": 0.5}, "--gamma is read by the posterior batch_norm"),
        ({"tau": 0.5}, "--tau is read by the posterior tied_scales"),
        ({"topic_size": 5}, "--topic_size is read with --topic_embedding only"),
        ({"bow_hidden_size": 5}, "--bow_hidden_size is read with --bow_weight above 0 only"),
        ({"word_vectors": "none.txt"}, "--word_vectors: the word vectors none.txt do not exist"),
        ({"compare_with": "nowhere"}, "--compare_with nowhere: no model there"),
        ({"max_utterance_length": 2}, "--max_utterance_length must be at least 3"),
        ({"num_responses": -1}, "--num_responses must be at least 0"),
        ({"strategy": "aggressive"}, "--strategy aggressive is for models of sentences"),
        ({"per_device_train_batch_size": 1}, "--per_device_train_batch_size 1 leaves nothing to normalise over"),
        ({"hiden_size": 5}, "unknown flags: --hiden_size"),
        ({"max_nll_samples": 5}, "--max_nll_samples is read with --nll_samples above 0 only"),
        ({"num_responses": 0, "max_response_contexts": 5}, "--max_response_contexts is read with --num_responses"),
    ],
)
def test_bad_input_gets_one_sentence_and_writes_nothing(changes, message, tmp_path):
    with pytest.raises((UsageError, CorpusError)) as error:
        dialogue.main(flags(tmp_path / "run", **changes))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_empty_separator_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--turn_separator is empty: give what stands between two turns"):
        dialogue.main([*flags(tmp_path / "run"), "--turn_separator", ""])


def test_another_model_that_cannot_stand_beside_this_one_is_refused_before_training(tmp_path):
    for folder in ("one", "two/one"):
        dialogue.main(flags(tmp_path / folder, max_steps=1, num_responses=0, num_cases=0))
    for beside, message in (
        ({"output_dir": tmp_path / "new" / "one", "compare_with": tmp_path / "one"}, "folder is named one too"),
        ({"compare_with": f"{tmp_path / 'one'} {tmp_path / 'two' / 'one'}"}, "folder is named one too"),
    ):
        with pytest.raises(UsageError, match=message):
            dialogue.main(flags(**{"output_dir": tmp_path / "run"} | beside))
    (tmp_path / "one" / "tokenizer.json").unlink()
    with pytest.raises(CorpusError, match=r"--compare_with .*one': its tokenizer"):
        dialogue.main(flags(tmp_path / "run", compare_with=tmp_path / "one"))
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_the_topics_that_it_had_only(tmp_path):
    changes = {"num_responses": 0, "num_cases": 0, "max_steps": 9}
    dialogue.main(flags(tmp_path / "run", **changes, topic_embedding=True))
    with pytest.raises(UsageError, match="the checkpoint has topics"):
        dialogue.main(flags(tmp_path / "run", **changes, resume_from_checkpoint="last"))
    shorter = changes | {"topic_embedding": True, "max_utterance_length": 5}
    with pytest.raises(UsageError, match="repeat its data, max_train_samples and max_utterance_length"):
        dialogue.main(flags(tmp_path / "run", **shorter, resume_from_checkpoint="last"))


def test_references_are_cut_into_words_as_responses_are_and_keep_the_words_that_the_model_does_not_know():
    tokenizer = build_tokenizer(["i am fine , thanks ."], split_punctuation=True)
    corpus = DialogueCorpus(
        {"test": [Dialogue((Turn("A", "hi"), Turn("B", "i am  swell, thanks.", None, ("fine.",))))]}
    )
    found = reference_responses(corpus, "test", tokenizer)
    assert found == [["i am swell , thanks .", "fine ."]]


def test_epochs_of_annealing_win_over_the_steps_of_a_recipe():
    def annealing(*more):
        arguments = dialogue.parse_arguments(
            dialogue.DialogueModelArguments,
            dialogue.DialogueTrainingArguments,
            description="",
            argv=["--recipe", "paper", "--output_dir", "unused", *more],
        )[1]
        return arguments.kl_annealing_steps, arguments.kl_annealing_epochs

    assert annealing()[0] == 10_000
    assert annealing("--kl_annealing_epochs", "3") == (None, 3)
    assert annealing("--kl_annealing_epochs", "3", "--kl_annealing_steps", "7")[0] == 7


def test_vectors_of_another_width_are_refused(tmp_path, vectors):
    with pytest.raises(UsageError, match="have 6 dimensions: use --embedding_size 6 with them"):
        dialogue.main(flags(tmp_path / "run", embedding_size=7, initial_word_vectors=vectors))


def test_every_method_of_dialogue_is_listed(capsys):
    dialogue.main(["--list_methods", "true", "--output_dir", "unused"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in DIALOGUE_METHODS)
