"""A trainer that is given texts and a tokenizer trains as on the token ids of the texts."""

import pytest
import torch
from datasets import Dataset

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.data import CorpusError, VaeCollator, build_tokenizer
from hf_bnvae.data.encoded_texts import encode_texts
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

TEXTS = ["a b c", "d e", "c c a b", "e d c", "a", "b b d e a"] * 4
OPTIONS = {"max_steps": 4, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
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
