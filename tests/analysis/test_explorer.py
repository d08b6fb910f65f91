"""What a visitor gets is what the model gives, within limits, and nothing that is typed becomes markup."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from hf_bnvae.analysis import explorer as explorers
from hf_bnvae.analysis.explorer import Explorer, PageError
from tests.analysis.conftest import EVIL, NASTY


def test_a_sentence_is_reconstructed_and_placed(explorer, sentences):
    vae = explorer.space.pipeline
    said, values, drawn = explorer.reconstruct("  a b\nc ")
    latent = vae.encode("a b c")[0]
    assert [said] == vae.reconstruct("a b c", max_new_tokens=explorers.MAX_NEW_TOKENS)
    assert values == [pytest.approx(float(latent[number]), abs=0.006) for number in explorer.strongest]
    assert drawn.count("cross") == 1 and "ring" not in drawn
    assert explorer.neighbours(sentences[4])[0] == sentences[4]


def test_no_neighbour_comes_twice(make_vae, sentences):
    near = Explorer.of(make_vae(), "one", sentences * 3).neighbours(sentences[4])
    assert near[0] == sentences[4] and len(set(near)) == explorers.NEAREST


@pytest.mark.parametrize("posterior", ["batch_norm", "vmf"])
def test_a_slider_moves_its_dimension_alone(make_vae, sentences, posterior):
    explorer = Explorer.of(make_vae(posterior=posterior), "one", sentences)
    vae, unit = explorer.space.pipeline, explorer.space.unit
    latent = vae.encode("a b c")[0]
    latent[explorer.strongest] = torch.tensor([2.5, -1, 0, 0.5]) * unit
    latent = latent / latent.norm() if posterior == "vmf" else latent
    said, drawn = explorer.move("a b c", [2.5, -1, 0, 0.5])
    assert [said] == vae.decode(latent.unsqueeze(0), max_new_tokens=explorers.MAX_NEW_TOKENS)
    assert drawn.count("cross") == drawn.count("ring") == 1


def test_no_value_lies_where_its_slider_cannot_go(explorer, sentences):
    short = replace(explorer, reach=0.25)
    for text in sentences[:9]:
        _, values, _ = short.reconstruct(text)
        assert all(-0.25 <= value <= 0.25 for value in values) and short.move(text, values)


def test_a_path_has_both_ends(explorer):
    path = explorer.interpolate("a b c", "j i", 4)
    ends = explorer.space.pipeline.reconstruct(["a b c", "j i"], max_new_tokens=explorers.MAX_NEW_TOKENS)
    assert len(path) == 4 and [path[0], path[-1]] == ends


@pytest.mark.parametrize("temperature", [0, 1])
def test_samples_repeat_by_their_seed_and_leave_the_random_numbers_of_others_alone(explorer, temperature):
    before = torch.get_rng_state()
    first, again, other = (explorer.sample(6, 1, temperature, seed) for seed in (3, 3, 4))
    assert first == again != other and torch.equal(torch.get_rng_state(), before)
    if not temperature:
        assert len(set(explorer.sample(6, 0, 0, 3))) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda one: one.reconstruct(" \n"), "Type a sentence first."),
        (lambda one: one.reconstruct(None), "Type a sentence first."),
        (lambda one: one.reconstruct("a" * 501), "That is too long: a sentence may have 500 characters here."),
        (lambda one: one.move("a", [0, 0, 0, 1e9]), "A number from -"),
        (lambda one: one.move("a", [0, 0, 0, float("nan")]), "A number from -"),
        (lambda one: one.interpolate("a", "b", 10**6), "A number from 2 to 11 belongs there."),
        (lambda one: one.interpolate("a", "", 3), "Type a sentence first."),
        (lambda one: one.sample(10**6, 1, 0, 1), "A number from 1 to 10 belongs there."),
        (lambda one: one.sample(1, 1, "hot", 1), "A number from 0 to 1.5 belongs there."),
        (lambda one: one.sample(1, 1, 0, None), "A number from 0 to 1000 belongs there."),
    ],
)
def test_what_cannot_be_had_is_said_without_repeating_it(explorer, asked, message):
    with pytest.raises(PageError) as error:
        asked(explorer)
    assert message in str(error.value)


def test_the_map_is_whole_and_holds_no_markup_of_others(explorer):
    drawn = explorer.map(torch.full((4,), 1e6))
    root = ElementTree.fromstring(drawn)
    assert len(root) == 62 and root[60][0].text == NASTY
    assert EVIL not in drawn and not set("{$`") & set(drawn)
    for mark in root.iter("circle"):
        assert 0 <= float(mark.get("cx")) <= explorers.MAP_WIDTH and 0 <= float(mark.get("cy")) <= explorers.MAP_HEIGHT
    assert (
        explorers.lines([NASTY, ""])
        == f'<ol class="texts"><li>{explorers.escaped_html(NASTY)}</li><li>(nothing)</li></ol>'
    )


def test_a_collapsed_posterior_looks_like_one(make_vae, sentences):
    vae = make_vae(posterior="gaussian")
    vae.model.model.posterior.mean.weight.data *= 1e-3
    explorer = Explorer.of(vae, "one", sentences)
    places = [float(mark.get("cx")) for mark in ElementTree.fromstring(explorer.map()).iter("circle")]
    assert max(places) - min(places) < 0.01 * explorers.MAP_WIDTH and "has collapsed" in explorer.verdict


def test_without_sentences_the_model_speaks_for_itself(make_vae, monkeypatch):
    monkeypatch.setattr(explorers, "OWN_SENTENCES", 12)
    first, again = (Explorer.of(make_vae(initializer_range=0.01), "one").space.texts for _ in range(2))
    assert len(first) == len(again) == 12


def test_labels_have_colours(make_vae, sentences):
    explorer = Explorer.of(make_vae(), "one", sentences, [row % 7 for row in range(60)])
    colours = {mark.get("fill") for mark in ElementTree.fromstring(explorer.map()).iter("circle")}
    assert colours == {*explorers.COLOURS, explorers.OTHER_COLOUR}
