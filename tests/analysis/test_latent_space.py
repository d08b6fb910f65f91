"""The latent space: identities that hold whatever the model, and known answers where there are any."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from hf_bnvae.analysis import dimensions, read_latent_space, verdict
from hf_bnvae.analysis.latent_space import (
    binned_information,
    label_direction,
    label_plane,
    nearest,
    nearest_others,
    principal_plane,
    quantiles,
    traversal_values,
    traverse,
    umap_layout,
)
from hf_bnvae.evaluation import elbo_metrics
from hf_bnvae.models.configuration_bnvae import POSTERIOR_NAMES
from hf_bnvae.models.distributions import DiagonalGaussian

GAUSSIANS = [name for name in POSTERIOR_NAMES if name != "vmf"]
FEW = {"max_new_tokens": 6}


@pytest.fixture
def space(make_vae, sentences):
    return read_latent_space(make_vae(), sentences, ["a" in text for text in sentences])


@pytest.mark.parametrize("posterior", POSTERIOR_NAMES)
def test_rows_are_in_the_order_of_the_texts(make_vae, sentences, posterior):
    vae = make_vae(posterior=posterior)
    space = read_latent_space(vae, sentences)
    torch.testing.assert_close(space.means, vae.encode(sentences))
    assert space.lengths.tolist() == [len(text.split()) + 1 for text in sentences]
    backwards = read_latent_space(vae, sentences[::-1])
    torch.testing.assert_close(backwards.inference.latents.flip(0), space.inference.latents)
    assert backwards.metrics == pytest.approx(space.metrics) and space.metrics == elbo_metrics(space.inference)


@pytest.mark.parametrize("posterior", GAUSSIANS)
def test_dimensions_add_up_and_no_kl_is_under_its_bound(make_vae, sentences, posterior):
    space = read_latent_space(make_vae(posterior=posterior), sentences)
    found = dimensions(space)
    assert sum(one.kl for one in found) == pytest.approx(space.metrics["kl"], rel=1e-5)
    assert sum(one.active for one in found) == space.metrics["au"]
    for one in found:
        assert one.kl >= one.bound > 0 and one.kl == pytest.approx(one.agg_kl + one.information)
        assert one.information <= math.log(len(sentences))


def test_the_model_keeps_its_promise_on_the_sentences_of_its_statistics(make_vae, sentences):
    vae = make_vae()
    vae.model.model.posterior.mean_norm.shift.data += torch.arange(4) / 4
    found = dimensions(read_latent_space(vae, sentences))
    assert [one.promised for one in found] == pytest.approx([(0.49 + (number / 4) ** 2) / 2 for number in range(4)])
    assert [one.bound for one in found] == pytest.approx([one.promised for one in found], rel=1e-4)
    assert dimensions(read_latent_space(make_vae(posterior="gaussian"), sentences))[0].promised is None


def test_a_model_that_ignores_the_sentence_has_collapsed(make_vae, sentences):
    vae = make_vae(posterior="gaussian")
    for name in ("mean", "logvar"):
        getattr(vae.model.model.posterior, name).weight.data.zero_()
    space = read_latent_space(vae, sentences, [len(text) > 8 for text in sentences])
    collapsed, said = verdict(space)
    assert collapsed and said.startswith(
        "The posterior has collapsed: 0 of 4 units are active, MI 0.00 and KL 0.00 nats, the decoder takes "
    )
    for one in dimensions(space):
        assert (one.kl, one.information, one.active) == (0, pytest.approx(0, abs=1e-6), False)
        assert max(one.with_length, one.with_label) < 0.15
    space = read_latent_space(make_vae(), sentences)
    space.inference.other_reconstruction = space.inference.reconstruction + 1  # an untrained decoder takes nothing
    assert verdict(space)[1].startswith("The posterior has not collapsed: 4 of 4")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda texts: texts[:1] * 60, "Too few sentences to tell whether the posterior has collapsed: 1 different"),
        (lambda texts: [f"{row} v w x y z {text}" for row, text in enumerate(texts) if text.count(" ") < 4], "unknown"),
    ],
)
def test_there_is_no_verdict_where_the_sentences_cannot_tell(make_vae, sentences, change, said):
    collapsed, sentence = verdict(read_latent_space(make_vae(), change(sentences)))
    assert collapsed is None and said in sentence


def test_unknown_words_are_counted(make_vae):
    assert read_latent_space(make_vae(), ["a b", "a x"]).unknown == 1 / 4


def test_the_sphere_has_no_kl_of_a_dimension(make_vae, sentences):
    space = read_latent_space(make_vae(posterior="vmf"), sentences, sentences)
    for one in dimensions(space):
        assert one.kl is one.agg_kl is one.information is one.bound is one.promised is one.posterior_variance is None
        assert one.strength == one.variance > 0
    assert len(space.label_kinds) == 20 and space.label_kinds[0] == "(other)"


def test_one_sentence_and_one_dimension_are_enough(make_vae):
    space = read_latent_space(make_vae(latent_size=1, posterior="gaussian"), ["a b"], [1])
    (one,) = dimensions(space)
    assert (one.variance, one.with_length, one.with_label) == (0, 0, 0)
    assert principal_plane(space.means)(space.means).tolist() == [[0, 0]]
    assert nearest_others(space) == [[]] and umap_layout(space.means) is None
    with pytest.raises(ValueError, match="there are no texts"):
        read_latent_space(space.pipeline, [])
    with pytest.raises(ValueError, match="2 labels for 1 texts"):
        read_latent_space(space.pipeline, ["a"], [0, 1])


# Information


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_information_of_known_cases():
    values, other = normal(2, 4000)
    assert binned_information(values, (values > values.median()).long()) == pytest.approx(math.log(2), abs=0.01)
    assert binned_information(values, (values.abs() > 0.6745).long()) == pytest.approx(math.log(2), abs=0.05)
    assert binned_information(values, torch.zeros(4000, dtype=torch.long)) == 0
    rho = 0.8
    correlated = rho * values + math.sqrt(1 - rho**2) * other
    groups = torch.bucketize(correlated, correlated.quantile(torch.linspace(0, 1, 17)[1:-1]))
    truth = -0.5 * math.log(1 - rho**2)
    assert 0.85 * truth < binned_information(values, groups) < truth + 0.02


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_independent_things_share_nothing_on_average(n):
    groups = torch.arange(n) % 3
    found = [binned_information(normal(n, seed=seed), groups) for seed in range(40)]
    assert sum(found) / 40 < 1.5 / n


def test_information_does_not_change_with_the_scale():
    values, groups = normal(500), torch.arange(500) % 2
    assert binned_information(values, groups) == binned_information(3 * values - 7, groups)


# Directions


def test_the_plane_is_that_of_the_largest_variance_and_says_so_again():
    points = normal(300, 5) * torch.tensor([0.1, 3.0, 0.2, 1.0, 0.3]) + 4
    plane = principal_plane(points)
    torch.testing.assert_close(plane.axes @ plane.axes.T, torch.eye(2, dtype=torch.double))
    assert plane.axes.abs().argmax(1).tolist() == [1, 3]
    assert plane.shares[0] > plane.shares[1] and plane.shares.sum() < 1
    spread = plane(points)
    assert spread.mean(0).abs().max() < 1e-6
    assert spread.var(0, correction=0)[0] == pytest.approx(
        float(plane.shares[0] * points.double().var(0, correction=0).sum())
    )
    torch.testing.assert_close(principal_plane(points.flip(0)).axes, plane.axes)


def test_the_plane_of_the_labels_is_that_of_their_means_whatever_varies_more(make_vae, sentences):
    labels = [("a", "b", "c")[index % 3] for index in range(len(sentences))]
    space = read_latent_space(make_vae(), sentences, labels)
    means = normal(len(sentences), 4) * torch.tensor([1.0, 1e-3, 9.0, 1e-3])
    means[:, 1] += torch.tensor([float(label == "a") for label in labels])
    means[:, 3] += torch.tensor([2.0 * (label == "b") for label in labels])
    means[:, ::2] -= torch.stack([means[space.of_label(label), ::2].mean(0) for label in labels])
    plane = label_plane(
        replace(space, inference=replace(space.inference, posterior=DiagonalGaussian(means, torch.zeros_like(means))))
    )
    assert plane.axes.abs().argmax(1).tolist() == [3, 1] and float(plane.shares.sum()) == pytest.approx(1)
    assert label_plane(replace(space, labels=["a", "b"] * (len(sentences) // 2))) is None
    assert label_plane(read_latent_space(make_vae(), sentences)) is None


@pytest.mark.parametrize("posterior", ["batch_norm", "vmf"])
def test_a_traversal_decodes_each_of_its_points_where_the_decoder_knows(make_vae, sentences, posterior):
    space = read_latent_space(make_vae(posterior=posterior), sentences)
    values = traversal_values(5)
    assert values.tolist() == [-3, -1.5, 0, 1.5, 3]
    found = traverse(space, space.means[7], [2, 0], values, **FEW)
    for number, row in zip([2, 0], found, strict=True):
        for value, text in zip(values.tolist(), row, strict=True):
            point = space.means[7].clone()
            point[number] = value * space.unit
            point = point / point.norm() if posterior == "vmf" else point
            assert [text] == space.pipeline.decode(point.unsqueeze(0), **FEW)


def test_nearest_is_nearest(space):
    cosine, euclidean = (nearest(space, space.means[3], 60, metric) for metric in ("cosine", "euclidean"))
    assert cosine[0] == (3, pytest.approx(1)) and euclidean[0] == (3, pytest.approx(0))
    assert [value for _, value in cosine] == sorted((value for _, value in cosine), reverse=True)
    for place, value in euclidean:
        assert value == pytest.approx(float((space.means[place] - space.means[3]).norm()), abs=1e-6)
    with pytest.raises(ValueError, match="'cosine' or 'euclidean', got 'taxi'"):
        nearest(space, space.means[3], metric="taxi")


def test_no_text_is_nearest_to_itself_and_none_comes_twice(make_vae, sentences):
    space = read_latent_space(make_vae(), sentences + sentences[:9])
    for place, others in enumerate(nearest_others(space, 4)):
        texts = [space.texts[other] for other, _ in nearest(space, space.means[place], 69)]
        best = list(dict.fromkeys(text for text in texts if text != space.texts[place]))[:4]
        assert [space.texts[other] for other in others] == best


def test_a_direction_takes_the_mean_of_one_label_to_that_of_the_other(space):
    ours, theirs = space.of_label("True"), space.of_label("False")
    moved = space.means[theirs].mean(0) + label_direction(space, "True", "False")
    torch.testing.assert_close(moved, space.means[ours].mean(0))
    with pytest.raises(ValueError, match="no sentence has the label 'x'; there are 'False', 'True'"):
        label_direction(space, "x", "True")


@pytest.mark.parametrize("posterior", ["gaussian", "vmf"])
def test_quantiles_of_the_prior_are_those_of_its_draws(make_vae, sentences, posterior):
    space = read_latent_space(make_vae(posterior=posterior), sentences)
    prior, aggregated = quantiles(space, 9)
    draws = space.pipeline.model.model.posterior.sample_prior(40_000, torch.Generator().manual_seed(0)) / space.unit
    drawn = draws[:, 0].double().quantile((torch.arange(9, dtype=torch.double) + 0.5) / 9)
    torch.testing.assert_close(prior, drawn, atol=0.03, rtol=0)
    assert aggregated.shape == (4, 9) and (aggregated.diff(dim=1) >= 0).all()


def test_umap_places_every_sentence_and_is_left_out_where_it_is_not_installed(space, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    assert umap_layout(space.means) is None
    monkeypatch.undo()
    pytest.importorskip("umap", reason="umap-learn is not installed")
    layout = umap_layout(space.means, seed=3)
    assert layout.shape == (60, 2) and torch.equal(layout, umap_layout(space.means, seed=3))
