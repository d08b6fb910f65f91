"""Training on dialogue: the parts of the loss, annealing by steps, and a KL that BN keeps alive."""

import pytest
import torch

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration
from hf_bnvae.data import DialogueCollator, DialogueResponses, build_tokenizer, encode_dialogues, load_dialogues
from hf_bnvae.evaluation import infer, nll, sample_responses
from hf_bnvae.training import DialogueTrainer, DialogueTrainingArguments, VaeTrainingArguments


@pytest.fixture(scope="module")
def data():
    corpus = load_dialogues("toy_dialogues", max_dialogues={"train": 60, "validation": 12})
    tokenizer = build_tokenizer([said.text for row in corpus.splits["train"] for said in row.turns])
    return tokenizer, encode_dialogues(corpus, tokenizer, 20, 4)


@pytest.fixture
def make_trainer(data, tmp_path):
    tokenizer, rows = data

    def make(method=None, callbacks=(), **settings) -> DialogueTrainer:
        config = BnCvaeConfig(
            vocab_size=len(tokenizer),
            embedding_size=16,
            utterance_hidden_size=16,
            context_hidden_size=16,
            hidden_size=24,
            latent_size=4,
            prior_hidden_size=8,
            bow_hidden_size=8,
            **(method or {}),
        )
        arguments = DialogueTrainingArguments(
            **{
                "output_dir": str(tmp_path / "run"),
                "per_device_train_batch_size": 16,
                "num_train_epochs": 1,
                "kl_annealing_steps": 4,
                "learning_rate": 5e-3,
                "warmup_steps": 0,
                "logging_steps": 1,
                "disable_tqdm": True,
                "use_cpu": True,
                "seed": 1,
            }
            | settings
        )
        torch.manual_seed(0)
        return DialogueTrainer(
            BnCvaeForConditionalGeneration(config),
            arguments,
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            data_collator=DialogueCollator(0),
            callbacks=list(callbacks),
        )

    return make


def test_a_trainer_of_dialogues_has_arguments_and_a_collator_of_its_own(data, make_trainer, tmp_path):
    tokenizer, rows = data
    model = make_trainer().model
    with pytest.raises(ValueError, match=r"^`args` must be DialogueTrainingArguments, .* got VaeTrainingArguments"):
        DialogueTrainer(model, VaeTrainingArguments(str(tmp_path), use_cpu=True), train_dataset=rows["train"])
    args = DialogueTrainingArguments(str(tmp_path), eval_strategy="no", use_cpu=True)
    with pytest.raises(ValueError, match=r"`train_dataset` must be DialogueResponses, got list: .*encode_dialogues"):
        DialogueTrainer(model, args, train_dataset=[["a", "b"]], processing_class=tokenizer)
    trainer = DialogueTrainer(model, args, train_dataset=rows["train"], processing_class=tokenizer)
    assert trainer.data_collator == DialogueCollator(tokenizer.pad_token_id)


CVAE = {"posterior": "gaussian", "prior_kl_weight": 0.0}


@pytest.mark.parametrize("method", [{}, CVAE, CVAE | {"bow_weight": 0.5}])
def test_the_log_shows_every_part_of_the_loss(make_trainer, method):
    trainer = make_trainer(method, max_steps=6, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    trainer.train()
    config = trainer.model.config
    logs = [row for row in trainer.state.log_history if "rec" in row]
    weights = [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert [row["kl_weight"] for row in logs] == pytest.approx(weights)
    for row, weight in zip(logs, weights, strict=True):
        parts = row["rec"] + weight * (row["kl"] + config.prior_kl_weight * row["kl_prior"])
        assert row["loss"] == pytest.approx(parts + config.bow_weight * row.get("bow_loss", 0.0), rel=1e-4)
        assert ("bow_loss" in row) is (config.bow_weight > 0)


def test_an_evaluation_gives_the_bound_and_its_parts(make_trainer):
    trainer = make_trainer({"bow_weight": 2.0})
    found = trainer.evaluate()
    assert found["eval_elbo"] == pytest.approx(found["eval_rec"] + found["eval_kl"])
    whole = found["eval_rec"] + found["eval_kl"] + found["eval_kl_prior"] + 2 * found["eval_bow_loss"]
    assert found["eval_loss"] == pytest.approx(whole)
    tokens = sum(length - 1 for length in trainer.eval_dataset.lengths)
    per_word = found["eval_rec"] * len(trainer.eval_dataset) / tokens
    assert found["eval_rec_ppl"] == pytest.approx(torch.tensor(per_word).exp().item(), rel=1e-5)


def test_metrics_do_not_depend_on_batches(make_trainer):
    trainer = make_trainer()
    whole = infer(trainer.model, trainer.get_eval_dataloader())
    other = infer(trainer.model, trainer.get_likelihood_dataloader(trainer.eval_dataset))
    for name in ("kl", "reconstruction", "tokens"):
        one, two = (getattr(found, name).double().sort().values for found in (whole, other))
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert len(whole.kl) == len(trainer.eval_dataset)


def test_the_nll_lies_under_the_bound_and_one_sample_of_it_is_the_bound(make_trainer):
    trainer = make_trainer()
    batches = list(trainer.get_likelihood_dataloader(trainer.eval_dataset))
    seen = infer(trainer.model, batches)
    single = seen.reconstruction + seen.log_posterior - seen.posterior.log_prior(seen.latents.unsqueeze(1)).squeeze(1)
    assert nll(trainer.model, batches, num_samples=1)["nll"] == pytest.approx(float(single.mean()), rel=1e-5)
    assert nll(trainer.model, batches, num_samples=50)["nll"] < float((seen.reconstruction + seen.kl).mean())


def test_responses_belong_to_their_context_and_not_to_their_batch(make_trainer, data):
    trainer, tokenizer = make_trainer(), data[0]
    rows = trainer.eval_dataset.select(range(9))
    collate = DialogueCollator(0)
    options = {"max_new_tokens": 5, "seed": 3}
    together = sample_responses(trainer.model, [collate(rows.__getitems__(range(9)))], tokenizer, 4, **options)
    alone = sample_responses(trainer.model, (collate([rows[place]]) for place in range(9)), tokenizer, 2, **options)
    assert [texts[:2] for texts in together] == alone
    assert [len(texts) for texts in together] == [4] * 9


def test_normalisation_statistics_are_exact_after_training(make_trainer):
    trainer = make_trainer({"gamma": 0.5}, statistics_samples=50)
    trainer.train()
    batch = DialogueCollator(0)(trainer.train_dataset.__getitems__(range(len(trainer.train_dataset))))
    mean = trainer.model.eval().infer(**batch).mean - trainer.model.model.posterior.mean_norm.shift
    torch.testing.assert_close(mean.mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(mean.var(0, unbiased=False), torch.full((4,), 0.25), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_batch_normalisation_keeps_the_kl_alive_where_a_plain_cvae_loses_it(make_trainer):
    settings = {"num_train_epochs": 12, "kl_annealing_steps": 0, "save_strategy": "no", "load_best_model_at_end": False}
    kl = {}
    for name, method in (("cvae", CVAE), ("bn_cvae", {"gamma": 0.7})):
        trainer = make_trainer(method, eval_strategy="no", **settings)
        trainer.train()
        kl[name] = trainer.evaluate()["eval_kl"]
    assert kl["cvae"] < 0.05 and kl["bn_cvae"] > 10 * kl["cvae"] and kl["bn_cvae"] > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"run_length": 0}, "`run_length` must be at least 1"),
        ({"strategy": "aggressive"}, "`strategy` aggressive is for models of sentences"),
        ({"equal_length": True}, "`equal_length` is for models of sentences"),
    ],
)
def test_arguments_that_mean_nothing_here_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        DialogueTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **settings)


def test_a_part_of_the_responses_shares_the_utterances(data):
    rows: DialogueResponses = data[1]["train"]
    part = rows.select([3, 5])
    assert len(part) == 2 and part.utterances is rows.utterances
    assert part[0] == rows[3] and part.lengths == [rows.lengths[3], rows.lengths[5]]


def test_the_best_model_may_be_the_one_that_uses_its_latent_most(make_trainer):
    trainer = make_trainer({}, max_steps=2, metric_for_best_model="use", kl_annealing_steps=0)
    trainer.train()
    assert trainer.state.best_metric == max(row["eval_use"] for row in trainer.state.log_history if "eval_use" in row)
    with pytest.raises(ValueError, match="`metric_for_best_model` bow_loss is not computed here"):
        make_trainer({}, metric_for_best_model="bow_loss")
