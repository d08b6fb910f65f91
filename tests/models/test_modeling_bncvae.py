"""The conditional VAE: its bound against closed forms, its two forms of a batch, and what it generates."""

import pytest
import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, BnCvaeModel
from hf_bnvae.data import DialogueCollator, DialogueResponses
from hf_bnvae.models.distributions import ConditionalGaussian, DiagonalGaussian
from hf_bnvae.models.objectives import bag_of_words_losses, cvae_divergence

SIZES = {
    "vocab_size": 30,
    "embedding_size": 6,
    "utterance_hidden_size": 5,
    "context_hidden_size": 7,
    "hidden_size": 8,
    "latent_size": 4,
    "prior_hidden_size": 5,
    "bow_hidden_size": 6,
    "initializer_range": 0.5,
    "embedding_initializer_range": 0.5,
}
OPTIONS = [
    {},
    {"posterior": "gaussian", "prior_kl_weight": 0.0},
    {"bow_weight": 1.0},
    {"prior_batch_norm": True},
    {"posterior": "du", "topics": ["pets", "work"], "topic_size": 3},
    {"posterior": "tied_scales", "tie_word_embeddings": True},
]


def make(**changes) -> BnCvaeForConditionalGeneration:
    return BnCvaeForConditionalGeneration(BnCvaeConfig(**SIZES | changes)).eval()


def dialogue(turns: int, seed: int = 0, context_turns: int = 3) -> DialogueResponses:
    """One dialogue of random utterances of many lengths, with two speakers in no order."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (turns,), generator=generator).tolist()
    words = [torch.randint(4, 30, (length,), generator=generator).tolist() for length in lengths]
    speakers = torch.randint(0, 2, (turns,), generator=generator).tolist()
    utterances = [[1, *row, 2] for row in words]
    return DialogueResponses(utterances, speakers, [0] * turns, [1] * turns, list(range(1, turns)), context_turns)


def flat_batch(rows: DialogueResponses) -> dict:
    return DialogueCollator(0)(rows.__getitems__(range(len(rows))))


def grid_batch(rows: DialogueResponses) -> dict:
    """The same as `(batch, turns, length)`, every context by itself, with its blanks in front."""
    batch = flat_batch(rows)
    turns, width = 3, batch["input_ids"].size(1)
    input_ids = torch.zeros(len(rows), turns, width, dtype=torch.long)
    own_turns = torch.zeros(len(rows), turns, dtype=torch.long)
    for place, row in enumerate(rows.__getitems__(range(len(rows)))):
        context = row["utterances"][:-1]
        for turn, ids in enumerate(context, start=turns - len(context)):
            input_ids[place, turn, : len(ids)] = torch.tensor(ids)
        own_turns[place, turns - len(context) :] = torch.tensor(row["own_turns"])
    return {
        "input_ids": input_ids,
        "own_turns": own_turns,
        "labels": batch["labels"],
        "topic_ids": batch["topic_ids"],
    }


def test_the_kl_term_is_equation_12_with_its_constant_mended_and_the_sum_of_two_closed_forms():
    q = DiagonalGaussian(torch.randn(5, 3), torch.randn(5, 3))
    p = DiagonalGaussian(torch.randn(5, 3), torch.randn(5, 3))
    posterior = ConditionalGaussian(q.mean, q.logvar, p.mean, p.logvar, torch.zeros(5, 0))
    found = cvae_divergence(posterior.kl(), posterior.prior.kl(), 1.0)
    equation = 0.5 * (
        (q.logvar.exp() + (q.mean - p.mean) ** 2) / p.logvar.exp() + p.logvar.exp() + p.mean**2 - q.logvar - 2
    )
    torch.testing.assert_close(found, equation)

    def normal(gaussian):
        return torch.distributions.Normal(gaussian.mean, (gaussian.logvar / 2).exp())

    standard = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    closed = torch.distributions.kl_divergence
    torch.testing.assert_close(found, closed(normal(q), normal(p)) + closed(normal(p), standard))
    latents = posterior.rsample(6)
    torch.testing.assert_close(posterior.log_prior(latents), normal(p).log_prob(latents.transpose(0, 1)).sum(-1).T)


@pytest.mark.parametrize(("mean", "logvar", "stationary"), [(0.0, 0.0, True), (0.4, 0.0, False), (0.0, -0.5, False)])
def test_where_q_is_p_the_prior_still_moves_unless_both_are_standard(mean, logvar, stationary):
    q = torch.full((1, 2), mean), torch.full((1, 2), logvar)
    p = [value.clone().requires_grad_() for value in q]
    posterior = ConditionalGaussian(*q, *p, torch.zeros(1, 0))
    plain = torch.autograd.grad(posterior.kl().sum(), p)
    assert all(gradient.abs().max() < 1e-6 for gradient in plain)
    whole = torch.autograd.grad(cvae_divergence(posterior.kl(), posterior.prior.kl(), 1.0).sum(), p)
    assert (max(float(gradient.abs().max()) for gradient in whole) < 1e-6) is stationary


@pytest.mark.parametrize("options", OPTIONS)
def test_both_forms_of_a_batch_are_the_same_to_the_model(options):
    model, rows = make(**options), dialogue(9)
    flat, grid = flat_batch(rows), grid_batch(rows)
    torch.manual_seed(3)
    one = model(**flat)
    torch.manual_seed(3)
    other = model(**grid)
    for name in ("posterior_mean", "posterior_logvar", "prior_mean", "prior_logvar", "loss", "kl", "kl_prior"):
        torch.testing.assert_close(one[name], other[name], msg=lambda text, name=name: f"{name}: {text}")
    grid.pop("labels")
    flat = {name: tensor for name, tensor in flat.items() if name not in ("labels", "response_index")}
    assert torch.equal(model.generate(**flat, max_new_tokens=6), model.generate(**grid, max_new_tokens=6))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_loss_is_its_parts_and_no_padding_is_in_it(options):
    model, batch = make(**options, kl_weight=0.7), flat_batch(dialogue(9))
    output = model(**batch, num_samples=3)
    config = model.config
    loss = output.reconstruction_loss + 0.7 * (output.kl + config.prior_kl_weight * output.kl_prior)
    if config.bow_weight:
        loss = loss + config.bow_weight * output.bow_loss
    torch.testing.assert_close(output.loss, loss)
    labels = batch["labels"].repeat_interleave(3, 0)
    padded = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="sum")
    torch.testing.assert_close(output.reconstruction_loss, padded / len(labels))
    torch.testing.assert_close(output.kl, model.infer(**batch).kl().sum(1).mean())


def test_losses_of_sentences_are_those_of_each_alone():
    model, rows = make(bow_weight=1.0), dialogue(9)
    batch = flat_batch(rows)
    conditions = torch.randn(len(rows), model.config.condition_size)
    together = model.sentence_losses(batch["labels"], conditions)
    bags = model.auxiliary_losses(batch["labels"], conditions)["bow_loss"]
    for row in range(len(rows)):
        length = int((batch["labels"][row] >= 0).sum())
        labels, condition = batch["labels"][row : row + 1, :length], conditions[row : row + 1]
        torch.testing.assert_close(together[row : row + 1], model.sentence_losses(labels, condition))
        chances = model.bag_of_words(condition).softmax(-1)[0]
        torch.testing.assert_close(bags[row], -sum(chances[word].log() for word in labels[0]))


def test_a_bag_counts_a_word_as_often_as_it_is_said():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    labels = torch.tensor([[2, 2, 1, -100]])
    expected = -(2 * logits.log_softmax(-1)[0, 2] + logits.log_softmax(-1)[0, 1])
    torch.testing.assert_close(bag_of_words_losses(logits, labels), expected.unsqueeze(0))


def test_who_spoke_matters_and_by_default_speakers_take_turns():
    model = make()
    input_ids = grid_batch(dialogue(9))["input_ids"][4:5]
    default = model.encode(input_ids)
    assert torch.equal(default, model.encode(input_ids, own_turns=torch.tensor([[0, 1, 0]])))
    assert not torch.allclose(default, model.encode(input_ids, own_turns=torch.tensor([[0, 1, 1]])))


def test_a_context_of_one_utterance_may_come_flat():
    model, ids = make(), torch.tensor([[1, 5, 6, 2, 0], [1, 7, 8, 9, 2]])
    assert torch.equal(model.encode(ids), model.encode(ids.unsqueeze(1)))
    assert torch.equal(model.encode(ids[:1]), model.encode(ids[:1, :4]))
    assert torch.equal(model.encode(ids), model.encode(ids, (ids != 0).long()))


def test_topics_have_vectors_and_an_unknown_one_has_its_own():
    model = make(topics=["pets", "work"])
    ids = torch.tensor([[1, 5, 6, 2]])
    none, unknown, pets = model.encode(ids), *(model.encode(ids, topic_ids=torch.tensor([t])) for t in (0, 1))
    assert torch.equal(none, unknown) and not torch.allclose(none, pets)


def test_the_vector_of_no_topic_starts_at_the_centre_and_is_learnt(tmp_path):
    model = make(topics=["pets", "work"])
    vectors = model.model.topic_embedding.weight
    assert (vectors[0] == 0).all() and (vectors[1:] != 0).all()
    batch = flat_batch(dialogue(4))
    model(**batch | {"topic_ids": torch.zeros_like(batch["topic_ids"])}).loss.backward()
    assert vectors.grad[0].abs().sum() > 0
    torch.nn.init.ones_(vectors)
    model.save_pretrained(tmp_path)
    assert (BnCvaeForConditionalGeneration.from_pretrained(tmp_path).model.topic_embedding.weight == 1).all()


def test_the_recognition_mean_keeps_its_variance_whatever_its_raw_scale():
    model, batch = make(gamma=0.5).train(), flat_batch(dialogue(60))
    for scale in (1.0, 1e-6):
        with torch.no_grad():
            model.model.posterior.mean.weight *= scale
        posterior = model.infer(**batch)
        torch.testing.assert_close(posterior.mean.var(0, unbiased=False), torch.full((4,), 0.25))
        assert (posterior.kl() + posterior.prior.kl()).sum(1).mean() > 0.1


@pytest.mark.parametrize(
    "options", [{}, {"prior_batch_norm": True}, {"posterior": "gaussian", "prior_batch_norm": True}]
)
def test_recomputed_statistics_are_those_of_the_whole_set(options):
    model, rows = make(**options, gamma=0.6), dialogue(40)
    collate = DialogueCollator(0)
    model.recompute_statistics(
        collate(rows.__getitems__(range(start, min(39, start + 7)))) for start in range(0, 39, 7)
    )
    posterior = model.infer(**flat_batch(rows))
    for mean, normalised in (
        (posterior.mean, model.config.posterior == "batch_norm"),
        (posterior.prior_mean, model.config.prior_batch_norm),
    ):
        if normalised:
            torch.testing.assert_close(mean.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
            torch.testing.assert_close(mean.var(0, unbiased=False), torch.full((4,), 0.36), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}, {}])
def test_generating_with_its_state_is_generating_without(options):
    model, batch = make(), grid_batch(dialogue(6))
    torch.manual_seed(1)
    cached = model.generate(batch["input_ids"], max_new_tokens=7, use_cache=True, **options)
    torch.manual_seed(1)
    assert torch.equal(cached, model.generate(batch["input_ids"], max_new_tokens=7, use_cache=False, **options))


def test_latents_are_shared_out_to_contexts_in_their_order():
    model, input_ids = make(), grid_batch(dialogue(5))["input_ids"]
    latents = 3 * torch.randn(8, 4)
    together = model.generate(input_ids, latents=latents, max_new_tokens=6)
    for row in range(8):
        alone = model.generate(input_ids[row // 2 : row // 2 + 1], latents=latents[row : row + 1], max_new_tokens=6)
        assert torch.equal(together[row, : alone.size(1)], alone[0])
    with pytest.raises(ValueError, match="7 latents cannot be shared out to 4 contexts"):
        model.generate(input_ids, latents=latents[:7])
    with pytest.raises(ValueError, match="either latents or num_latents"):
        model.sample(2, input_ids, latents=latents)
    with pytest.raises(ValueError, match="of one context, got 4"):
        model.interpolate(latents[0], latents[1], 4, input_ids=input_ids)
    path = model.interpolate(latents[0], latents[1], 3, input_ids=input_ids[:1], max_new_tokens=6)
    ends = [model.generate(input_ids[:1], latents=z.unsqueeze(0), max_new_tokens=6)[0] for z in latents[:2]]
    assert all(torch.equal(path[place, : len(end)], end) for place, end in zip((0, 2), ends, strict=True))


def test_samples_are_draws_of_the_contexts_own_prior():
    model, input_ids = make(), grid_batch(dialogue(5))["input_ids"]
    one = model.sample(3, input_ids, generator=torch.Generator().manual_seed(5), max_new_tokens=4)
    prior = model.model.prior_of(input_ids)
    noise = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(5))
    latents = prior.mean.unsqueeze(1) + noise * (prior.logvar / 2).exp().unsqueeze(1)
    assert torch.equal(one, model.generate(input_ids, latents=latents.flatten(0, 1), max_new_tokens=4))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_saved_model_comes_back_by_the_auto_classes(options, tmp_path):
    model, batch = make(**options), flat_batch(dialogue(6))
    model.save_pretrained(tmp_path)
    whole = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert isinstance(whole, BnCvaeForConditionalGeneration)
    torch.manual_seed(2)
    loss = model(**batch).loss
    torch.manual_seed(2)
    assert torch.equal(loss, whole(**batch).loss)
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(encoder, BnCvaeModel)
    assert torch.equal(encoder(**batch).posterior_mean, model.encode(**batch))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posterior": "vmf"}, "posterior must be one of gaussian, batch_norm"),
        ({"gamma": 0.0}, "gamma must be a finite number above 0"),
        ({"bow_weight": -1.0}, "bow_weight must be a finite number of at least 0"),
        ({"context_turns": 0}, "context_turns must be at least 1"),
        ({"tau": 1.0}, "tau must lie in"),
    ],
)
def test_a_wrong_field_is_named(changes, message):
    with pytest.raises(Exception, match=message):
        BnCvaeConfig(**SIZES | changes)


def test_a_posterior_without_a_response_is_refused():
    with pytest.raises(ValueError, match="needs the responses"):
        make().infer(torch.tensor([[1, 5, 2]]))
    with pytest.raises(ValueError, match="needs a context"):
        make().generate()
    with pytest.raises(ValueError, match="needs a context"):
        make().interpolate(torch.zeros(4), torch.ones(4))
