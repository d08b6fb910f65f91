"""A trainer that carries the callback leaves results, record and card beside its model."""

import json
from functools import partial

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration, TextVaePipeline
from hf_bnvae.data import VaeCollator, build_tokenizer
from hf_bnvae.data.encoded_texts import encode_texts
from hf_bnvae.hub import CardError, ModelCardCallback, model_card_callback, name_repository, write_card
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

TEXTS = ["a b c", "d e", "c c a b", "e d c", "a", "b b d e a"] * 4


@pytest.fixture
def trained(train):
    return train()


@pytest.fixture
def train(tmp_path):
    return partial(trained_in, tmp_path)


def trained_in(tmp_path, *callbacks, **changes):
    """A trainer that has trained, and its output folder."""
    tokenizer = build_tokenizer(TEXTS, "word", 40, 1)
    sizes = {"embedding_size": 8, "hidden_size": 8, "latent_size": 4}
    model = BnVaeForConditionalGeneration(BnVaeConfig(vocab_size=len(tokenizer), posterior="batch_norm", **sizes))
    model.generation_config.max_new_tokens = 6
    rows = Dataset.from_dict({"input_ids": encode_texts(TEXTS, tokenizer, 20)[0]})
    callback = ModelCardCallback(
        method="bn_vae", license="apache-2.0", data={"name": "letters"}, sentences=["a b c"], repo_id="ann/letters"
    )
    options = {"num_train_epochs": 2, "kl_annealing_epochs": 0, "disable_tqdm": True, "use_cpu": True, "seed": 3}
    options |= changes
    trainer = VaeTrainer(
        model,
        VaeTrainingArguments(output_dir=str(tmp_path / "run"), **options),
        train_dataset=rows,
        eval_dataset=rows.select(range(6)),
        data_collator=VaeCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[callback, *callbacks],
    )
    trainer.train()
    trainer.save_model()
    return trainer, tmp_path / "run"


def test_the_card_stands_beside_the_model_and_says_what_the_trainer_knows(trained):
    trainer, folder = trained
    card = (folder / "README.md").read_text()
    assert "Method `bn_vae`" in card and "license: apache-2.0" in card and 'from_pretrained("ann/letters"' in card
    assert "letters" in card and "No weights belong to this card" not in card
    results = json.loads((folder / "all_results.json").read_text())
    (best,) = (
        row
        for row in trainer.state.log_history
        if row.get("step") == trainer.state.best_global_step and "eval_elbo" in row
    )
    assert results["eval_elbo"] == best["eval_elbo"] and results["train_sentences"] == len(TEXTS)
    assert results["seed"] == 3 and results["train_steps"] == trainer.state.global_step
    record = json.loads((folder / "run.json").read_text())
    assert record["examples"]["reconstructions"][0][0] == "a b c" and "torch" in record["versions"]
    assert TextVaePipeline.from_pretrained(str(folder)).encode(["a b"]).shape == (1, 4)


class Ruin(TrainerCallback):
    """Draws other weights when the first checkpoint is saved."""

    def on_save(self, args, state, control, model=None, **kwargs):
        if state.epoch == 1:
            for weight in model.decoder.parameters():
                torch.nn.init.normal_(weight.data)


@pytest.mark.parametrize("best", [True, False])
def test_the_results_are_of_the_weights_that_are_saved(train, best):
    trainer, folder = train(Ruin(), load_best_model_at_end=best)
    results = json.loads((folder / "all_results.json").read_text())
    assert results["eval_elbo"] == pytest.approx(trainer.evaluate()["eval_elbo"])
    assert (trainer.state.best_global_step == trainer.state.global_step // 2) and trainer.state.best_model_checkpoint


def test_the_card_is_the_one_that_the_finished_folder_gives(trained, tmp_path):
    _, folder = trained
    card = (folder / "README.md").read_text()
    assert write_card(folder, "ann/letters").read_text() == card
    assert name_repository(folder, "bob/other")  # nobody has changed it by hand


def test_a_pipeline_is_saved_beside_the_results_that_its_training_has_left(train):
    trainer, folder = train(save_strategy="no", load_best_model_at_end=False)
    names = ("config.json", "model.safetensors", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    for name in names:
        (folder / name).unlink()
    left = {name: (folder / name).read_bytes() for name in ("README.md", "all_results.json", "run.json")}
    TextVaePipeline(trainer.model, trainer.processing_class).save_pretrained(folder)
    assert {name: (folder / name).read_bytes() for name in left} == left


def test_transformers_own_card_takes_the_place_of_none_but_no_other(trained):
    trainer, folder = trained
    card = (folder / "README.md").read_text()
    trainer.create_model_card()
    assert (folder / "README.md").read_text() == card
    (folder / "README.md").unlink()
    trainer.create_model_card()
    assert "generated_from_trainer" in (folder / "README.md").read_text()


@pytest.mark.parametrize("named", [True, False])
def test_the_picture_is_of_the_first_of_several_evaluation_sets(trained, named):
    trainer, folder = trained
    for name in ("README.md", "training.png"):
        (folder / name).unlink()
    if named:
        trainer.eval_dataset = {"one": trainer.eval_dataset, "two": trainer.eval_dataset}
    trainer.train()
    assert (folder / "README.md").is_file() and (folder / "training.png").is_file()


def test_a_card_that_cannot_be_written_leaves_the_training_and_a_name_that_cannot_be_is_refused_before(
    trained, monkeypatch, caplog
):
    trainer, _folder = trained

    def fail(*args, **kwargs):
        raise CardError("no card")

    monkeypatch.setattr(model_card_callback, "write_card", fail)
    trainer.train()
    assert "There is no model card: no card" in caplog.text
    with pytest.raises(ValueError, match="my name"):
        ModelCardCallback(repo_id="my name/x")
