"""The trainer trains alike on every shape that the same data may come in, and judges several data sets by name."""

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, TrainingArguments, set_seed

from hf_bnvae.data import CorpusError, VaeCollator, build_tokenizer
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments


@pytest.fixture
def make(tmp_path, make_model, sentences):
    def make(train, evaluation, **settings):
        set_seed(1)
        settings = {
            "per_device_train_batch_size": 4,
            "max_steps": 4,
            "report_to": "none",
            "disable_tqdm": True,
        } | settings
        args = VaeTrainingArguments(output_dir=str(tmp_path), seed=1, use_cpu=True, kl_annealing_epochs=0, **settings)
        return VaeTrainer(
            make_model(), args, train_dataset=train, eval_dataset=evaluation, data_collator=VaeCollator(0)
        )

    return make


def test_every_shape_of_the_data_gives_the_same_model(make, sentences):
    ids = sentences["input_ids"][:16]
    plain = Dataset.from_dict({"input_ids": ids})
    longest = max(map(len, ids))
    padded = {
        "input_ids": [row + [0] * (longest - len(row)) for row in ids],
        "attention_mask": [[1] * len(row) + [0] * (longest - len(row)) for row in ids],
    }
    shapes = [plain, Dataset.from_dict(padded), plain.with_format("torch"), plain.to_iterable_dataset()]
    shapes.append([{"input_ids": row} for row in ids])
    states = []
    for shape in shapes:
        trainer = make(shape, shape, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
        trainer.train()
        states.append({"elbo": torch.tensor(trainer.evaluate(shape)["eval_elbo"])} | trainer.model.state_dict())
    for state in states[1:]:
        for name, value in state.items():
            assert torch.equal(value, states[0][name]), name


def test_several_data_sets_are_judged_by_name_and_the_first_or_the_named_one_chooses(make, sentences):
    some, others = sentences.select(range(10)), Dataset.from_dict({"input_ids": sentences["input_ids"][10:20]})
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    for chosen, metric in (("a", "elbo"), ("b", "b_elbo")):
        trainer = make(sentences, {"a": some, "b": others}, metric_for_best_model=metric, **steps)
        trainer.train()
        logged = [row for row in trainer.state.log_history if f"eval_{chosen}_elbo" in row]
        assert len(logged) == 2
        assert trainer.state.best_metric == min(row[f"eval_{chosen}_elbo"] for row in logged)
        found = trainer.evaluate()
        assert found["eval_a_elbo"] == found["eval_elbo"] == trainer.evaluate(some)["eval_elbo"]
        assert found["eval_b_elbo"] == trainer.evaluate(others)["eval_elbo"]


TEXTS = ["a b c", "d e", "c c a b", "e d c"] * 4
TOKENIZER = build_tokenizer(TEXTS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"args": TrainingArguments}, "^`args` must be VaeTrainingArguments, .* got TrainingArguments: make "),
        ({"processing_class": None}, "^train_dataset holds rows of str .* as `processing_class`"),
        ({"processing_class": None, "tokenizer": TOKENIZER}, "^`tokenizer` is called `processing_class`"),
        ({"vocab_size": 6}, "^`processing_class`: its tokenizer has the id 8 .* with vocab_size 9 do$"),
        ({"eval_dataset": None}, "^`eval_strategy` epoch needs an `eval_dataset`: give one, or "),
        (
            {"data_collator": DataCollatorWithPadding(TOKENIZER)},
            "^`data_collator` DataCollatorWithPadding gives no lab",
        ),
        ({"data_collator": lambda rows: rows[5]}, "^`data_collator` function makes no batch of the training set"),
    ],
)
def test_a_first_mistake_is_one_sentence_before_any_work(make_model, tmp_path, changes, sentence):
    changes = dict(changes)
    args = changes.pop("args", VaeTrainingArguments)(output_dir=str(tmp_path), use_cpu=True)
    model = make_model(vocab_size=changes.pop("vocab_size", len(TOKENIZER)))
    data = {"train_dataset": TEXTS, "eval_dataset": TEXTS, "processing_class": TOKENIZER} | changes
    with pytest.raises(ValueError, match=sentence) as error:
        VaeTrainer(model, args, **data)
    assert "\n" not in str(error.value)


def test_without_a_tokenizer_batches_are_padded_as_the_model_says(make_model, tmp_path):
    args = VaeTrainingArguments(output_dir=str(tmp_path), max_steps=1, eval_strategy="no", use_cpu=True)
    model = make_model(pad_token_id=3)
    trainer = VaeTrainer(model, args, train_dataset=[{"input_ids": [1, 5, 6, 2]}, {"input_ids": [1, 5, 2]}])
    trainer.train()
    assert trainer.data_collator == VaeCollator(3)


def test_data_that_holds_no_token_ids_is_named(make):
    texts = Dataset.from_dict({"text": ["a b"]})
    with pytest.raises(CorpusError, match="train_dataset has the columns text and no input_ids"):
        make(texts, None)
