"""Steps that are replayed train as steps that are not."""

from copy import deepcopy

import pytest
import torch
from transformers.trainer_utils import TrainOutput

from hf_bnvae.data import VaeCollator
from hf_bnvae.data.batches import rounded_length
from hf_bnvae.methods import METHODS
from hf_bnvae.plans import build_model
from hf_bnvae.training import step_graphs
from hf_bnvae.training.step_graphs import StepGraphs
from hf_bnvae.training.training_results import training_results
from tests.training.tape import Tape

SIZES = {"vocab_size": 40, "embedding_size": 8, "hidden_size": 16, "latent_size": 4}
WITHOUT = ("sa_vae", "agg_vae")
FIGURES = {"train_loss": 1.0, "train_runtime": 1.0, "epoch": 1.0}


def state_of(trainer):
    """What a step changes beside what it returns."""
    yield from trainer.model.buffers()
    yield from (parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None)
    yield from (trainer._parts, trainer._first_bad_step, trainer.graphs.words)


@pytest.fixture
def train(make_trainer, monkeypatch, tmp_path):
    """Trains a copy of a model with graphs on the CPU, or without, over few shapes, in a folder of its own."""

    def run(model, cuda_graphs, **settings):
        trainers = []
        monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(lambda: state_of(trainers[0])))
        settings = {"output_dir": str(tmp_path / str(cuda_graphs))} | settings
        trainer = make_trainer(deepcopy(model), cuda_graphs=cuda_graphs, **settings)
        trainer.data_collator = VaeCollator(0, few_shapes=True)
        trainers.append(trainer)
        trainer.train()
        return trainer

    return run


def log_of(trainer):
    return [
        {name: value for name, value in row.items() if name in ("loss", "rec", "kl", "kl_weight", "grad_norm")}
        for row in trainer.state.log_history
        if "loss" in row
    ]


def assert_same(graphed, plain):
    assert log_of(graphed) == log_of(plain)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, graphed.model.state_dict()[name]), name


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT])
def test_a_replayed_training_is_the_training(name, train):
    settings = {"kl_schedule": METHODS[name].kl_schedule, "optim": "adamw_torch", "weight_decay": 0.1}
    model = build_model(name, **SIZES, embedding_dropout=0.2, output_dropout=0.2)
    graphed, plain = (train(model, graphs, **settings) for graphs in (True, False))
    assert plain.graphs is None
    assert graphed.graphs.results()["train_replayed_steps"] >= 12
    assert_same(graphed, plain)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({}, {"gradient_accumulation_steps": 3}),
        ({"word_dropout": 0.3, "unk_token_id": 3}, {}),
        ({"bow_weight": 1.0}, {}),
        ({"posterior": "matched", "decorrelation": 2.0}, {"max_grad_norm": 0.1}),
    ],
)
def test_so_it_is_with(config, settings, train, make_model):
    model = make_model(**config)
    graphed, plain = (train(model, graphs, num_train_epochs=4, **settings) for graphs in (True, False))
    assert graphed.graphs.results()["train_replayed_steps"] > 0
    assert_same(graphed, plain)


def test_another_seed_and_another_weight_reach_a_replayed_step(train, make_model):
    """Were they recorded as they stood, each epoch would draw the same noise at the same weight."""
    graphed = train(make_model(), True, learning_rate=0.0, num_train_epochs=3, kl_annealing_epochs=3)
    weights = [row["kl_weight"] for row in log_of(graphed)]
    assert weights == sorted(weights) and len(set(weights)) == len(weights)
    reconstructions = [row["rec"] for row in log_of(graphed)]
    assert len(set(reconstructions)) == len(reconstructions)


def test_what_cannot_be_recorded_is_trained_as_it_is(train, make_model, monkeypatch, caplog):
    model = make_model()
    posterior = type(model.model.posterior)
    forward = posterior.forward

    def waiting(self, states):
        float(states.detach().sum())
        return forward(self, states)

    monkeypatch.setattr(posterior, "forward", waiting)
    graphed, plain = (train(model, graphs) for graphs in (True, False))
    results = graphed.graphs.results()
    assert (results["train_graphs"], results["train_replayed_steps"], results["train_steps_as_they_are"]) == (0, 0, 16)
    assert [record.message for record in caplog.records if "CUDA graphs" in record.message] == [
        "Trains without CUDA graphs from here: operation not permitted when stream is capturing: "
        "aten._local_scalar_dense.default"
    ]
    assert_same(graphed, plain)


def test_a_model_that_is_made_when_training_begins_is_the_one_that_learns(make_model, make_trainer, monkeypatch):
    trainer = make_trainer(make_model(), cuda_graphs=True)
    monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(lambda: state_of(trainer)))
    trainer.model_init = lambda trial: make_model()
    trainer.train()
    assert trainer.graphs.results()["train_replayed_steps"] > 0
    norms = [row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row]
    assert len(norms) == 16 and min(norms) > 0


def test_a_batch_that_does_not_say_where_its_words_are_is_not_recorded(make_trainer, monkeypatch):
    def collate(rows):
        return {name: tensor for name, tensor in VaeCollator(0)(rows).items() if name != "word_positions"}

    trainer = make_trainer(cuda_graphs=True)
    monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(lambda: state_of(trainer)))
    trainer.data_collator = collate
    trainer.train()
    assert trainer.graphs.results()["train_replayed_steps"] == 0


def test_no_more_graphs_than_there_may_be(train, make_model, monkeypatch):
    monkeypatch.setattr(step_graphs, "MOST_GRAPHS", 1)
    model = make_model()
    graphed, plain = (train(model, graphs, num_train_epochs=3) for graphs in (True, False))
    results = graphed.graphs.results()
    assert results["train_graphs"] == 1 and results["train_steps_as_they_are"] > 2
    assert_same(graphed, plain)


@pytest.mark.parametrize(
    ("config", "settings", "why"),
    [
        ({}, {"strategy": "aggressive"}, "the strategy aggressive looks at what it computes"),
        ({"refinement_steps": 2, "posterior": "gaussian"}, {}, "a refined posterior looks at its sentences"),
        ({}, {"torch_compile": True}, "the model is compiled"),
    ],
)
def test_where_graphs_do_nothing_it_is_said(config, settings, why, make_trainer, make_model, monkeypatch, caplog):
    monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(list))
    trainer = make_trainer(make_model(**config), cuda_graphs=True, **settings)
    trainer.get_train_dataloader()
    assert trainer.graphs is None
    assert f"`cuda_graphs` does nothing here: {why}" in caplog.text


def test_an_optimiser_that_steps_within_the_backward_pass_has_no_graphs(make_trainer, monkeypatch, caplog):
    monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(list))
    trainer = make_trainer(cuda_graphs=True)
    trainer.args.optim = "galore_adamw_layerwise"
    trainer.get_train_dataloader()
    assert trainer.graphs is None and "the optimiser galore_adamw_layerwise takes its step on the way" in caplog.text


def test_a_cpu_has_no_graphs(make_trainer, caplog):
    trainer = make_trainer(cuda_graphs=True)
    trainer.train()
    assert trainer.graphs is None and "it needs a GPU of CUDA" in caplog.text


def test_gradients_that_are_there_are_added_to():
    weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))

    def update(batch):
        loss = (weight * batch["labels"]).sum()
        loss.backward()
        return loss.detach()

    def batch_of(*labels):
        return {"labels": torch.tensor(labels), "word_positions": torch.arange(2)}

    graphs = StepGraphs([weight], Tape(lambda: [weight.grad, graphs.words]))
    for count in (1, 2, 3):  # as it is, recorded, replayed
        weight.grad = torch.tensor([10.0, 20.0])
        assert float(graphs.step(update, batch_of(1.0, count))) == 2 + 3 * count
        assert weight.grad.tolist() == [11, 20 + count]
    weight.grad = None
    graphs.step(update, batch_of(5.0, 6.0))
    assert weight.grad.tolist() == [5, 6]
    assert graphs.results()["train_replayed_steps"] == 3


def test_what_is_replayed_and_what_is_padding_is_counted(train, make_model, sentences):
    epochs = 3
    trainer = train(make_model(), True, num_train_epochs=epochs)
    results = trainer.graphs.results()
    assert results["train_replayed_steps"] + results["train_steps_as_they_are"] == trainer.state.global_step
    words = epochs * sum(length - 1 for length in sentences["length"])
    batches = [rows for epoch in range(epochs) for rows in _batches(trainer.train_sampler(), epoch)]
    places = sum(trainer.data_collator(sentences.__getitems__(rows))["labels"].numel() for rows in batches)
    assert results["train_padding_share"] == pytest.approx(1 - words / places)
    assert results.items() <= training_results(trainer, TrainOutput(1, 1.0, FIGURES), 100).items()


def _batches(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_rounded_lengths_are_few_and_near():
    lengths = range(1, 513)
    rounded = [rounded_length(length) for length in lengths]
    assert all(
        length <= found < max(length + 4, 1.125 * length) for length, found in zip(lengths, rounded, strict=True)
    )
    assert rounded == sorted(rounded)
    assert len(set(rounded)) == 16 + 3 * 8
    assert [rounded_length(found) for found in rounded] == rounded


def test_a_collator_of_ones_own_keeps_what_it_has(make_trainer, monkeypatch):
    class Counting(VaeCollator):
        def __init__(self):
            super().__init__(0)
            self.widths = []

        def __call__(self, rows):
            batch = super().__call__(rows)
            self.widths.append(batch["input_ids"].size(1))
            return batch

    trainer = make_trainer(cuda_graphs=True)
    monkeypatch.setattr(step_graphs, "recorder_of", lambda device: Tape(list))
    trainer.data_collator = Counting()
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].size(1) % 4 == 0 and batch["input_ids"].size(1) in trainer.data_collator.widths
    assert not trainer.data_collator.few_shapes


def test_labels_of_their_own_are_as_wide_as_those_of_what_is_read():
    rows = [{"input_ids": [1, *range(4, 4 + count), 2], "labels": [*range(4, 4 + count), 2]} for count in (5, 9)]
    both = VaeCollator(0, few_shapes=True)(rows)
    one = VaeCollator(0, few_shapes=True)([{"input_ids": row["input_ids"]} for row in rows])
    assert both.keys() == one.keys() and all(torch.equal(both[name], one[name]) for name in one)


def test_batches_of_few_shapes_hold_the_same_sentences(make_model):
    rows = [{"input_ids": [1, *range(4, 4 + count), 2]} for count in (3, 9, 7)]
    usual, few = VaeCollator(0)(rows), VaeCollator(0, few_shapes=True)(rows)
    width = usual["input_ids"].size(1)
    assert (width, few["input_ids"].size(1)) == (11, 12)
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(few[name][:, :width], usual[name]) and not few[name][:, width:].any()
    assert torch.equal(few["labels"][:, : width - 1], usual["labels"])
    assert (few["labels"][:, width - 1 :] == -100).all()
    assert few["word_positions"].tolist() == list(range(few["labels"].numel()))
    model = make_model(embedding_dropout=0.0, output_dropout=0.0).train()
    one, other = (model(**batch, noise_seed=3) for batch in (usual, few))
    for name in ("loss", "reconstruction_loss", "kl"):
        torch.testing.assert_close(one[name], other[name])
