"""A trainer that is given texts and a tokenizer trains as on the token ids of the texts."""

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.data import CorpusError, TokenizerPair, VaeCollator, build_tokenizer, with_token_ids
from hf_bnvae.data.encoded_texts import encode_texts
from hf_bnvae.evaluation import nll
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

TEXTS = ["a b c", "d e", "c c a b", "e d c", "a", "b b d e a"] * 4
OPTIONS = {
    "max_steps": 4,
    "learning_rate": 5e-5,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
}
OPTIONS |= {"disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 6}
SHAPES = {
    "strings": lambda texts: texts,
    "text": lambda texts: Dataset.from_dict({"text": texts, "label": [0] * len(texts)}),
    "sentence": lambda texts: Dataset.from_dict({"sentence": texts}),
    "stream": lambda texts: Dataset.from_dict({"text": texts}).to_iterable_dataset(),
    "blank lines": lambda texts: [*texts, " "],
}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS, "word", 40, 1)


def trained(tokenizer, train_dataset, folder, **kwargs):
    torch.manual_seed(1)
    sizes = {"embedding_size": 8, "hidden_size": 8, "latent_size": 4}
    model = BnVaeForConditionalGeneration(BnVaeConfig(vocab_size=len(tokenizer), **sizes))
    args = VaeTrainingArguments(output_dir=str(folder), **OPTIONS)
    trainer = VaeTrainer(model, args, train_dataset=train_dataset, processing_class=tokenizer, **kwargs)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def on_token_ids(tokenizer, tmp_path_factory):
    rows = Dataset.from_dict({"input_ids": encode_texts(TEXTS, tokenizer, 256)[0]})
    return trained(tokenizer, rows, tmp_path_factory.mktemp("ids"), data_collator=VaeCollator(tokenizer.pad_token_id))


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_in_any_shape_train_the_model_that_their_token_ids_train(shape, tokenizer, on_token_ids, tmp_path):
    trainer = trained(tokenizer, SHAPES[shape](TEXTS), tmp_path)
    expected = on_token_ids.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in trainer.model.state_dict().items())
    judged = on_token_ids.evaluate(on_token_ids.train_dataset.select(range(6)))
    assert trainer.evaluate(TEXTS[:6])["eval_elbo"] == judged["eval_elbo"]


def test_columns_that_do_not_say_which_holds_the_texts_are_named(tokenizer, tmp_path):
    with pytest.raises(CorpusError, match=r"^train_dataset has the columns one, two: rename the one with the texts"):
        trained(tokenizer, Dataset.from_dict({"one": ["a"], "two": ["b"]}), tmp_path)


@pytest.fixture
def bare_tokenizer():
    tokenizer = build_tokenizer(TEXTS, "word", 40, 1)
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


def test_a_tokenizer_that_puts_no_ends_around_texts_is_refused(bare_tokenizer, tmp_path):
    with pytest.raises(
        CorpusError, match=r"^processing_class does not put a start and an end symbol around each text: "
    ):
        trained(bare_tokenizer, TEXTS, tmp_path)


def test_token_ids_without_ends_are_noticed(tokenizer, bare_tokenizer, caplog):
    def warned(rows, its_tokenizer=tokenizer):
        caplog.clear()
        for data in (rows, Dataset.from_list(rows)):
            assert with_token_ids(data, its_tokenizer, "train_dataset") is data
        return "row 1 counted from 0: its input_ids have no start and end symbol" in caplog.text

    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in TEXTS[:3]]
    assert not warned(rows)
    rows[1]["input_ids"] = bare_tokenizer(TEXTS[1])["input_ids"]
    assert warned(rows) and not warned(rows, TokenizerPair(tokenizer, tokenizer))
    assert not warned([row | {"labels": [5, 2]} for row in rows]) and not warned(rows, None)


@pytest.mark.parametrize("collator", [None, "seq2seq", "seq2seq without its model", "language modelling"])
def test_labels_in_the_usual_form_train_and_evaluate_as_those_without_the_start(
    collator, tokenizer, on_token_ids, tmp_path
):
    encoded = on_token_ids.train_dataset["input_ids"][:]
    rows = {"input_ids": encoded, "attention_mask": [[1] * len(ids) for ids in encoded]}
    if collator != "language modelling":
        rows["labels"] = encoded
    collate = {
        None: lambda: None,
        "seq2seq": lambda: DataCollatorForSeq2Seq(tokenizer, on_token_ids.model),
        "seq2seq without its model": lambda: DataCollatorForSeq2Seq(tokenizer),
        "language modelling": lambda: DataCollatorForLanguageModeling(tokenizer, mlm=False),
    }[collator]()
    trainer = trained(tokenizer, Dataset.from_dict(rows), tmp_path, data_collator=collate)
    for name, tensor in on_token_ids.model.state_dict().items():
        # AdamW makes steps of rounding where the gradient of a word is next to nothing.
        torch.testing.assert_close(trainer.model.state_dict()[name], tensor, atol=5e-4, rtol=0)
    some = range(6)
    judged, wanted = (each.evaluate(each.train_dataset.select(some)) for each in (trainer, on_token_ids))
    assert judged["eval_elbo"] == pytest.approx(wanted["eval_elbo"], rel=1e-4)
    batches = [trainer.data_collator(trainer.train_dataset.select(some).to_list())]
    expected = nll(
        on_token_ids.model, [on_token_ids.data_collator(on_token_ids.train_dataset.select(some).to_list())], 5
    )
    assert nll(on_token_ids.model, batches, 5) == pytest.approx(expected, rel=1e-4)
