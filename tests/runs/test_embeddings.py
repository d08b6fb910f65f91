"""Training on embeddings of texts, without the encoder that made them: rows that follow their texts, and bad input."""

import json
import logging
import pickle
import re
from itertools import pairwise

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from hf_bnvae import BnVaeForConditionalGeneration, TextVaePipeline, train
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.evaluate import main as evaluate
from hf_bnvae.cli.explore import load_pipeline
from hf_bnvae.cli.train import main as train_command
from hf_bnvae.data import VaeCollator, load_corpus
from hf_bnvae.data.encoder_states import SentenceStates, TokenRows, read_embeddings
from hf_bnvae.export import export_encoder
from hf_bnvae.hub import HubError
from hf_bnvae.hub.spaces import write_space
from hf_bnvae.models import BnVaeModel
from hf_bnvae.runs import text_run
from hf_bnvae.runs.pretrained import write_rows
from hf_bnvae.runs.sentence_encoders import check_model
from hf_bnvae.training.resuming import digest
from tests.runs.test_pretrained_parts import SMALL, STEPS, TEXTS, WORDS, broken_off, parts  # noqa: F401

WIDTH = 5


def embeddings_of(texts) -> np.ndarray:
    """A function of the text alone, so that a row says whose it is."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=WIDTH) for text in texts]
    return np.array(rows, np.float32)


def write(folder, name, texts, ending=".npy") -> list[str]:
    """A file of texts and one of their embeddings, as flags."""
    (folder / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    path = folder / f"{name}{ending}"
    if ending == ".npy":
        np.save(path, embeddings_of(texts))
    else:
        pd.DataFrame({"id": range(len(texts)), "vector": list(embeddings_of(texts))}).to_parquet(path)
    flag = "embeddings_file" if name == "train" else f"{name}_embeddings_file"
    return [f"--{name}_file", str(folder / f"{name}.txt"), f"--{flag}", str(path)]


OPTIONS = SMALL | {"hidden_size": 12}
FLAGS = [text for name, value in OPTIONS.items() for text in (f"--{name}", str(value))]


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_a_model_is_trained_evaluated_and_used_with_embeddings_alone(ending, tmp_path, capsys):
    data = write(tmp_path, "train", ["", *TEXTS], ending) + write(tmp_path, "validation", TEXTS[:20], ending)
    tested = write(tmp_path, "test", [*TEXTS[5:15], " ", *TEXTS[20:40]], ending)
    out = tmp_path / "out"
    train_command([*data, *tested, *FLAGS, "--method", "matched_vae", "--output_dir", str(out)])
    results = json.loads((out / "all_results.json").read_text())
    assert results["eval_kl"] > 0 and results["eval_sentences"] == 20 and results["test_sentences"] == 30
    evaluate(
        ["--model_name_or_path", str(out), *tested, "--nll_samples", "3", "--output_file", str(tmp_path / "r.json")]
    )
    again = json.loads((tmp_path / "r.json").read_text())
    assert again.keys() <= results.keys()
    for name in ("test_elbo", "test_rec", "test_kl", "test_mi", "test_use", "test_nll", "test_reconstruction_bleu"):
        assert again[name] == pytest.approx(results[name], rel=1e-5), name

    vae = TextVaePipeline.from_pretrained(str(out))
    assert vae.model.config.encoder == "given" and vae.model.config.encoder_hidden_size == WIDTH
    vectors = embeddings_of(TEXTS[:4])
    written = vae.decode_embeddings(vectors)
    assert len(written) == 4 and vae.decode(vae.encode_embeddings(vectors)) == written
    assert vae.decode_embeddings(torch.from_numpy(vectors)) == written
    ends = vae.encode_embeddings(vectors[:2])
    assert vae.interpolate(*ends, steps=3)[0] == written[0] and len(vae.sample(2, seed=1)) == 2
    with pytest.raises(ValueError, match="this model reads embeddings and has no encoder of texts"):
        vae.encode(["the food"])
    for wrong, said in (
        ("a path", r"embeddings must be \(n, 5\) numbers, got str"),
        ([[1.0, 2.0], [3.0]], r"embeddings must be \(n, 5\) numbers, got list"),
        (GIVEN[:2] + 1j, r"embeddings must be \(n, 5\), got \(2, 5\) of torch.complex"),
        (np.where(np.arange(4)[:, None] == 2, np.nan, GIVEN[:4]), r"finite numbers, got others in row 2"),
    ):
        with pytest.raises(ValueError, match=said):
            vae.decode_embeddings(wrong)
    with pytest.raises(ValueError, match=r"embeddings must be \(n, 5\), got \(4, 3\)"):
        vae.encode_embeddings(vectors[:, :3])
    capsys.readouterr()


def test_embeddings_follow_their_texts_wherever_these_go(tmp_path):
    texts = [text if row % 7 else " " for row, text in enumerate(TEXTS)]
    corpus = load_corpus(
        files={"train": write(tmp_path, "train", texts)[1]},
        max_samples={"train": 50},
        validation_split_percentage=20,
    )
    for split in ("train", "validation"):
        origin = corpus.origins[split]
        assert origin.split == "train" and origin.total == len(texts)
        assert [texts[row] for row in origin.rows] == corpus.splits[split]["text"][:]
    assert len(corpus.origins["train"].rows) == 50 - corpus.reports["train"].empty > 0


@pytest.mark.parametrize("options", [{}, {"max_train_samples": 60}, {"max_length": 4}])
def test_what_the_model_reads_of_a_row_is_the_embedding_of_its_text(options, tmp_path, monkeypatch):
    read = []
    collate = VaeCollator.__call__

    def watched(self, rows):
        read.extend(rows)
        return collate(self, rows)

    monkeypatch.setattr(VaeCollator, "__call__", watched)
    texts = [text if row % 7 else " " for row, text in enumerate(TEXTS)]
    vae = train(texts, "vae", tmp_path / "out", embeddings=embeddings_of(texts), **OPTIONS, **options)
    known = {tuple(row): text for row, text in zip(embeddings_of(texts), texts, strict=True)}
    assert len(read) > 100
    for row in read:
        words = vae.tokenizer.decode(row["input_ids"], skip_special_tokens=True).split()
        of_the_embedding = known[tuple(row["encoder_states"])].split()
        assert words == of_the_embedding[: options.get("max_length", 100) - 2]


@pytest.mark.parametrize("trained", ["lora", "full"])
def test_a_pretrained_decoder_writes_from_embeddings(parts, trained, tmp_path):  # noqa: F811
    named = {"decoder_name_or_path": parts["decoder_name_or_path"], "train_decoder": trained}
    vae = train(TEXTS, "bn_vae", tmp_path / "out", embeddings=embeddings_of(TEXTS), **SMALL, **named)
    before = AutoModelForCausalLM.from_pretrained(parts["decoder_name_or_path"]).state_dict()
    assert before.keys() == vae.model.decoder.lm.state_dict().keys()
    vectors = embeddings_of(TEXTS[:4])
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out"))
    assert again.decode_embeddings(vectors) == vae.decode_embeddings(vectors)
    assert set(" ".join(again.decode_embeddings(vectors)).split()) <= {*WORDS, "<unk>"}


@pytest.mark.parametrize("chosen", [("encoder",), ("encoder", "decoder")])
def test_the_states_of_a_frozen_encoder_as_embeddings_give_its_losses(parts, chosen, tmp_path, monkeypatch):  # noqa: F811
    """Loss by loss, from one start: a new encoder takes random numbers that a model of embeddings does not."""
    start, states, shared = text_run.start_text_model, {}, {}

    def from_one_start(*args):
        model = start(*args)
        new = {name: value for name, value in model.state_dict().items() if not name.startswith("model.encoder.")}
        shared.setdefault("start", {name: value.clone() for name, value in new.items()})
        assert new.keys() == shared["start"].keys()
        model.load_state_dict(shared["start"], strict=False)
        return model

    monkeypatch.setattr(text_run, "start_text_model", from_one_start)
    make = text_run.make_text_trainer

    def watched(run, model, encoded):
        states.update({split: np.concatenate(list(rows.blocks())) for split, rows in encoded.splits.items()})
        return make(run, model, encoded)

    monkeypatch.setattr(text_run, "make_text_trainer", watched)
    named = {f"{part}_name_or_path": parts[f"{part}_name_or_path"] for part in chosen}
    options = SMALL | {"logging_steps": 1} | ({"hidden_size": 12} if len(chosen) == 1 else {"train_decoder": "full"})
    data = {"train": TEXTS, "validation": TEXTS[:30]}
    train(data, "bn_vae", tmp_path / "encoder", **options, **named)
    of_the_encoder = dict(states)
    named.pop("encoder_name_or_path")
    train(data, "bn_vae", tmp_path / "embeddings", embeddings=of_the_encoder, **options, **named)
    logs = [
        json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        for name in ("encoder", "embeddings")
    ]
    losses = [[(row["loss"], row["rec"], row["kl"]) for row in log if "loss" in row] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 16
    results = [json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("encoder", "embeddings")]
    for name in ("eval_elbo", "eval_kl", "eval_mi", "eval_use", "eval_nll", "eval_reconstruction_bleu"):
        assert results[0][name] == results[1][name], name


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test alone."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "hf_bnvae"


def test_a_second_run_takes_the_states_of_the_first_and_reads_nothing(parts, cache, tmp_path, monkeypatch, caplog):  # noqa: F811
    named = {"encoder_name_or_path": parts["encoder_name_or_path"]}
    options = SMALL | {"hidden_size": 12, "num_train_epochs": 1, "seed": 3}
    monkeypatch.setattr(logging.getLogger("hf_bnvae"), "propagate", True)
    first = train(TEXTS, "bn_vae", tmp_path / "first", **options, **named)
    assert len(list(cache.iterdir())) == 2 and "found there" not in caplog.text
    reading = BnVaeModel.read

    def watched(self, input_ids=None, *args, **kwargs):
        assert input_ids is None, "the encoder reads again"
        return reading(self, input_ids, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(BnVaeModel, "read", watched)
        second = train(TEXTS, "bn_vae", tmp_path / "second", **options, **named)
    assert caplog.text.count("found there: the encoder does not read the texts again") == 2
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    # Another decoder, another seed: the states are the same. Other pooling, other texts: they are not.
    train(TEXTS, "vae", tmp_path / "third", **options | {"seed": 4, "vocab_size": 9}, **named)
    assert len(list(cache.iterdir())) == 2
    train(TEXTS, "vae", tmp_path / "fourth", **options, **named, encoder_pooling="cls")
    assert len(list(cache.iterdir())) == 4
    train(TEXTS[1:], "vae", tmp_path / "fifth", **options, **named)
    assert len(list(cache.iterdir())) == 6


@pytest.mark.parametrize("harm", ["cut", "unwritable"])
def test_states_that_are_broken_or_cannot_be_kept_are_computed_anew(parts, cache, harm, tmp_path, monkeypatch, caplog):  # noqa: F811
    named = {"encoder_name_or_path": parts["encoder_name_or_path"]}
    options = SMALL | {"hidden_size": 12, "num_train_epochs": 1}
    monkeypatch.setattr(logging.getLogger("hf_bnvae"), "propagate", True)
    if harm == "unwritable":
        cache.parent.mkdir()
        cache.write_text("a file")
    first = train(TEXTS, "vae", tmp_path / "first", **options, **named)
    if harm == "cut":
        for path in cache.glob("*/states.npy"):
            path.write_bytes(path.read_bytes()[:-8])
    second = train(TEXTS, "vae", tmp_path / "second", **options, **named)
    said = {
        "cut": "not whole (states.npy is missing or cut off)",
        "unwritable": "They stay in memory, and the next run",
    }
    assert said[harm] in caplog.text
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_rows_of_token_ids_and_rows_of_states_come_back_as_they_went(tmp_path):
    rows = [[1, 2, 3], [], [4], [5, 6]]
    kept = TokenRows(Dataset.from_dict({"input_ids": rows}))
    assert list(kept) == rows and len(kept) == 4
    states = torch.randn(5, 3)
    write_rows(tmp_path / "a.npy", [([3, 0], states[[3, 0]]), ([1, 4, 2], states[[1, 4, 2]])], 5)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), states.numpy())


@pytest.mark.parametrize("method", ["agg_vae", "skip_vae", "cnn_vae", "fb_vae", "du_vae", "vmf_vae"])
def test_methods_that_read_no_words_train_on_embeddings(method, tmp_path):
    options = SMALL | {"num_train_epochs": 1, "nll_samples": 0}
    vae = train(TEXTS, method, tmp_path / "out", embeddings=embeddings_of(TEXTS), **options, hidden_size=12)
    assert len(vae.decode_embeddings(embeddings_of(TEXTS[:2]))) == 2


def test_a_run_on_embeddings_is_resumed_with_the_same_ones_only(tmp_path):
    data = {"train": TEXTS, "validation": TEXTS[:20]}
    given = {split: embeddings_of(texts) for split, texts in data.items()}
    train(data, "bn_vae", tmp_path / "whole", embeddings=given, **SMALL, **STEPS, hidden_size=12)
    checkpoint = broken_off(tmp_path / "whole", tmp_path / "out")
    options = SMALL | STEPS | {"hidden_size": 12, "resume_from_checkpoint": str(checkpoint)}
    with pytest.raises(ValueError, match="which are not the 120 of this one"):
        train(data, "bn_vae", tmp_path / "out", embeddings=given | {"train": given["train"] + 1}, **options)
    resumed = train(data, "bn_vae", tmp_path / "out", embeddings=given, **options).model.state_dict()
    for name, value in BnVaeForConditionalGeneration.from_pretrained(tmp_path / "whole").state_dict().items():
        torch.testing.assert_close(resumed[name], value, msg=name)


GIVEN = embeddings_of(TEXTS)


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [
        (GIVEN[:-1], r"embeddings \(train\) holds 119 rows, and the data \(train\) 120 texts: give a row for each"),
        (np.concatenate([GIVEN, GIVEN]), "holds 240 rows, and the data"),
        (GIVEN[:, 0], r"holds an array of the shape \(120,\) and the type float32: give a row of numbers"),
        (GIVEN.astype(str), "the type <U32: give a row of numbers"),
        (np.where(np.arange(120)[:, None] == 7, np.nan, GIVEN), r"\(train\), row 8, holds a NaN or an infinity"),
        (
            np.where(np.arange(120)[:, None] == 7, 1e300, GIVEN.astype(np.float64)),
            r"\(train\), row 8, holds a NaN or an infinity in fp32",
        ),
        ([[1.0, 2.0], [1.0]] * 60, r"embeddings \(train\) has rows of different widths"),
        ({"test": GIVEN}, "embeddings comes without those of the training texts: give them, by embeddings_file"),
        ({"train": GIVEN, "dev": GIVEN}, "embeddings has 'dev': its keys are train, validation, test"),
        ({"train": GIVEN, "test": GIVEN}, r"embeddings \(test\): the data has no test split: leave it out"),
        ({"train": GIVEN, "validation": GIVEN}, "the validation split is put aside from the train split"),
        ({"train": GIVEN, "test": GIVEN[:, :3]}, r"\(test\) has 3 numbers in a row and embeddings \(train\) 5"),
    ],
)
def test_embeddings_that_are_not_those_of_the_texts_are_refused_in_one_sentence(embeddings, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        train(TEXTS, "vae", tmp_path / "out", embeddings=embeddings, **OPTIONS)


def test_a_validation_split_needs_embeddings_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="validation_embeddings_file: the data has a validation split, and a model of"):
        train({"train": TEXTS, "validation": TEXTS[:9]}, "vae", tmp_path / "out", embeddings=GIVEN, **OPTIONS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder_name_or_path": "bert"}, "encoder_name_or_path names an encoder, and the embeddings stand in its"),
        ({"pretrained_encoder": "out"}, "pretrained_encoder is a text VAE with an encoder of its own"),
        ({"initial_word_vectors": "glove.txt"}, "initial_word_vectors .* leave out either it or embeddings_file"),
        ({"encoder_embedding_size": 8}, "encoder_embedding_size is the width of an encoder's word vectors"),
        ({"encoder_hidden_size": 8}, "encoder_hidden_size is 8, and embeddings have 5 numbers"),
        ({"method": "sa_vae"}, "refinement_steps reconstruct the words that an encoder read, and there are none"),
        ({"streaming": True}, "streaming reads what train_file or dataset_name names, and the data are given"),
        ({"embeddings_file": "x.npy"}, "embeddings holds what embeddings_file names: leave one of them out"),
    ],
)
def test_what_does_not_go_with_embeddings_is_refused_before_any_work(changes, said, tmp_path):
    options = {"method": "vae", "output_dir": tmp_path / "out"} | OPTIONS | changes
    with pytest.raises(ValueError, match=said):
        train(TEXTS, embeddings=GIVEN, **options)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--streaming", "true"], "--embeddings_file has a row for each text, whose order --streaming does not keep"),
        (["--method", "lstm_lm"], "--embeddings_file means nothing with --method lstm_lm"),
    ],
)
def test_flags_that_do_not_go_with_a_file_of_embeddings(more, said, tmp_path):
    data = write(tmp_path, "train", TEXTS)
    with pytest.raises(UsageError, match=said):
        train_command([*data, *more, "--output_dir", str(tmp_path / "out")])


def test_what_reads_sentences_says_that_the_model_reads_embeddings(tmp_path, monkeypatch):
    options = OPTIONS | {"nll_samples": 0, "num_train_epochs": 1}
    vae = train(TEXTS, "vae", tmp_path / "out", embeddings=GIVEN, **options)
    out = str(tmp_path / "out")
    with pytest.raises(UsageError, match="reads embeddings, and what is shown here are sentences"):
        load_pipeline(out, 100)
    with pytest.raises(ValueError, match="reads embeddings and no sentences: name a model with an encoder"):
        check_model(out, finetune=False)
    with pytest.raises(HubError, match="reads embeddings, and in a Space people type sentences"):
        write_space([out], tmp_path / "space", "title")
    with pytest.raises(ValueError, match="this model reads embeddings and has no encoder of token ids to export"):
        export_encoder(vae.model)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "a map from the embedding of a sentence, of 5 numbers, to 3 latent numbers" in card
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0], {})


def test_an_evaluation_says_which_embeddings_it_needs(tmp_path):
    texts = {"train": TEXTS, "validation": TEXTS[:20]}
    given = {split: embeddings_of(rows) for split, rows in texts.items()}
    options = OPTIONS | {"nll_samples": 0, "num_train_epochs": 1, "reconstruction_samples": 0}
    train(texts, "matched_vae", tmp_path / "out", embeddings=given, **options)
    train(texts, "matched_vae", tmp_path / "lstm", **options)
    tested = write(tmp_path, "test", TEXTS[:10])
    asked = ["--nll_samples", "0", "--model_name_or_path", str(tmp_path / "out"), *tested]
    with pytest.raises(UsageError, match="reads embeddings of the texts: name those of test by --test_embeddings_file"):
        evaluate(asked[:-2])
    np.save(tmp_path / "narrow.npy", given["train"][:10, :3])
    with pytest.raises(UsageError, match="--test_embeddings_file has 3 numbers in a row, and the model learnt from 5"):
        evaluate([*asked[:-1], str(tmp_path / "narrow.npy")])
    np.save(tmp_path / "few.npy", given["train"][:9])
    with pytest.raises(UsageError, match=r"holds 9 rows, and \S+test\.txt \(test\) 10 texts"):
        evaluate([*asked[:-1], str(tmp_path / "few.npy")])
    asked[3] = str(tmp_path / "lstm")
    with pytest.raises(UsageError, match="--test_embeddings_file is read by a model that was trained on embeddings"):
        evaluate(asked)


def saved(folder, name, **columns):
    path = folder / name
    pd.DataFrame(columns).to_parquet(path)
    return path


def bad_files(folder):
    """A file of embeddings of every kind that cannot be read, with what is said of it."""
    np.save(folder / "pickled.npy", np.array([{}, []], dtype=object))
    (folder / "text.npy").write_text("0.1 0.2\n")
    np.save(folder / "cut.npy", np.zeros((9, 9)))
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:300])
    np.save(folder / "cube.npy", np.zeros((2, 3, 4)))
    (folder / "empty.npy").write_bytes(b"")
    (folder / "cut.parquet").write_bytes(b"PAR1 and no more")
    return [
        (folder / "pickled.npy", "holds pickled objects, which are not loaded"),
        (folder / "text.npy", "is no npy file: write it by numpy.save"),
        (folder / "cut.npy", "could not be read as npy"),
        (folder / "cube.npy", r"an array of the shape \(2, 3, 4\)"),
        (folder / "empty.npy", "is empty"),
        (folder / "none.npy", "does not exist"),
        (folder / "a.csv", "has the unknown ending '.csv': use .npy or .parquet"),
        (folder / "cut.parquet", "could not be read as parquet"),
        (saved(folder, "words.parquet", text=["a", "b"]), "has no column of lists of numbers"),
        (saved(folder, "two.parquet", a=[[1.0]], b=[[2.0]]), "has the columns a, b of lists of numbers: leave one"),
        (saved(folder, "short.parquet", a=[[1.0, 2.0], [3.0]]), "row 2, holds 1 numbers and others 2"),
        (saved(folder, "hole.parquet", a=[[1.0, 2.0], None]), "row 2, holds nothing and others 2"),
        (saved(folder, "first.parquet", a=[None, [1.0, 2.0]]), "row 1, holds nothing: give all rows the same"),
    ]


def test_files_that_hold_no_embeddings_are_refused_in_one_sentence(tmp_path):
    for path, said in bad_files(tmp_path):
        with pytest.raises(ValueError, match=said):
            read_embeddings(path, "`embeddings_file`")


def test_files_and_arrays_of_any_numbers_give_the_same_rows(tmp_path):
    np.save(tmp_path / "a.npy", GIVEN)
    np.save(tmp_path / "f.npy", np.asfortranarray(GIVEN))
    for source in (tmp_path / "a.npy", str(tmp_path / "f.npy"), torch.from_numpy(GIVEN), GIVEN.tolist()):
        np.testing.assert_allclose(read_embeddings(source, "`embeddings_file`"), GIVEN)
    assert isinstance(read_embeddings(tmp_path / "a.npy", "`embeddings_file`"), np.memmap)
    saved(tmp_path, "a.parquet", text=TEXTS, vector=list(GIVEN.astype(np.float64)))
    np.testing.assert_array_equal(read_embeddings(tmp_path / "a.parquet", "`embeddings_file`"), GIVEN)


def shards(folder, *cuts) -> list[str]:
    """GIVEN in files that end at these rows, npy and parquet in turns."""
    folder.mkdir()
    names = []
    for number, (start, end) in enumerate(pairwise((0, *cuts, len(GIVEN)))):
        names.append(str(folder / f"part-{number:02}{('.npy', '.parquet')[number % 2]}"))
        if number % 2:
            saved(folder, f"part-{number:02}.parquet", vector=list(GIVEN[start:end]))
        else:
            np.save(names[-1], GIVEN[start:end])
    return names


def test_shards_are_the_one_file(tmp_path):
    names = shards(tmp_path / "parts", 1, 50, 51, 119)
    np.save(tmp_path / "one.npy", GIVEN)
    order = np.random.default_rng(0).permutation(len(GIVEN))
    sentences = Dataset.from_dict({"length": [3] * len(GIVEN)})
    one = SentenceStates(sentences, read_embeddings(tmp_path / "one.npy", "e"), order, are_data=True)
    for source in (names, str(tmp_path / "parts"), str(tmp_path / "parts" / "part-*")):
        rows = read_embeddings(source, "e")
        assert rows.shape == GIVEN.shape and len(rows) == len(GIVEN)
        several = SentenceStates(sentences, rows, order, are_data=True)
        sent = pickle.loads(pickle.dumps(several))
        for states in (several, sent):
            np.testing.assert_array_equal(np.concatenate(list(states.blocks())), GIVEN[order])
        assert isinstance(sent.states.arrays[0], np.memmap) and digest(several) == digest(one)
    np.testing.assert_array_equal(np.concatenate(list(one.blocks())), GIVEN[order])
    reversed_rows = read_embeddings(names[::-1], "e")[np.arange(2)]
    np.testing.assert_array_equal(reversed_rows, GIVEN[[119, 51]])


def test_a_training_on_shards_is_that_on_the_one_file(tmp_path):
    names = shards(tmp_path / "parts", 70, 90)
    data = write(tmp_path, "train", TEXTS) + write(tmp_path, "validation", TEXTS[:20])
    asked = ["--method", "vae", *FLAGS, "--output_dir"]
    train_command([*data, *asked, str(tmp_path / "one")])
    train_command([*data, "--embeddings_file", *names, *asked, str(tmp_path / "several")])
    train(TEXTS, "vae", tmp_path / "python", embeddings=names, **OPTIONS)
    in_python = {"embeddings_file": str(tmp_path / "parts"), "train_file": str(tmp_path / "train.txt")}
    train(None, "vae", tmp_path / "python_file", **in_python, **OPTIONS)
    for name, other in (("one", "several"), ("python", "python_file")):
        first, second = (BnVaeForConditionalGeneration.from_pretrained(tmp_path / run) for run in (name, other))
        for key, value in first.state_dict().items():
            assert torch.equal(value, second.state_dict()[key]), key


def test_shards_that_do_not_fit_are_refused_in_one_sentence(tmp_path):
    names = shards(tmp_path / "parts", 70, 90)
    np.save(tmp_path / "wide.npy", np.zeros((2, 6)))
    with pytest.raises(
        ValueError, match=r"e \S+wide.npy has 6 numbers in a row and \S+part-00.npy 5: give embeddings of"
    ):
        read_embeddings([names[0], str(tmp_path / "wide.npy")], "e")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is a folder without a file that ends in \.npy or \.parquet"):
        read_embeddings(tmp_path / "empty", "e")
    with pytest.raises(ValueError, match=r"\*\.npy: no file has such a name"):
        read_embeddings(str(tmp_path / "empty" / "*.npy"), "e")
    for number in (2, 10):
        np.save(tmp_path / "empty" / f"e{number}.npy", GIVEN)
    with pytest.raises(
        ValueError, match=r"e10.npy comes before e2.npy by its letters and after it by its number: name"
    ):
        read_embeddings(tmp_path / "empty", "e")
    said = (
        r"embeddings \(train\), 2 files from \S+00.npy to \S+02.npy, holds 100 rows, and the data \(train\) 120 texts"
    )
    with pytest.raises(ValueError, match=said):
        train(TEXTS, "vae", tmp_path / "out", embeddings=names[::2], **OPTIONS)
    last = np.load(names[2])
    last[4, 1] = np.nan
    np.save(names[2], last)
    with pytest.raises(
        ValueError, match=r"embeddings \(train\) \S+part-02.npy, row 5, holds a NaN or an infinity in fp32"
    ):
        train(TEXTS, "vae", tmp_path / "out", embeddings=names, **OPTIONS)


def test_a_nan_of_a_text_that_is_left_out_does_no_harm(tmp_path):
    given = GIVEN.copy()
    given[3] = np.nan
    texts = [*TEXTS[:3], "", *TEXTS[4:]]
    train(texts, "vae", tmp_path / "out", embeddings=given, **OPTIONS | {"num_train_epochs": 1})
