"""TextVaePipeline: what it gives is what the model gives, one text at a time."""

import logging
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration, TextVaePipeline
from hf_bnvae.data import TokenizerPair, build_tokenizer
from hf_bnvae.data.tokenizer_pair import written_texts
from hf_bnvae.hub import write_card
from tests.helpers import make_batch

TEXTS = ["a b c", "d", "e f g h i j", "", "b a", "unknownword c c c c"]


@pytest.fixture
def tokenizer():
    return build_tokenizer(["a b c d e f g h i j"], "word", 40, 1)


@pytest.fixture
def vae(make_model, tokenizer):
    model = make_model()
    model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return TextVaePipeline(model, tokenizer, batch_size=4)


def one_by_one(vae, texts):
    ids = [vae.tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
    return torch.cat([vae.model.encode(row) for row in ids])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_batches_give_what_single_texts_give(vae, batch_size):
    vae.batch_size = batch_size
    torch.testing.assert_close(vae.encode(TEXTS), one_by_one(vae, TEXTS), rtol=1e-4, atol=1e-5)
    latents = vae.encode(TEXTS)
    options = {"max_new_tokens": 6}
    singles = [text for row in latents for text in written_texts(vae.model.decode(row[None], **options), vae.tokenizer)]
    assert vae.decode(latents, **options) == vae.reconstruct(TEXTS, **options) == singles


def test_an_unknown_word_that_the_model_writes_is_a_word_of_its_text(vae, monkeypatch):
    ids = torch.tensor(vae.tokenizer(["a zebra b"])["input_ids"])
    monkeypatch.setattr(vae.model, "decode", lambda latents, **options: ids)
    assert vae.decode(torch.zeros(1, 4)) == ["a <unk> b"]
    assert torch.equal(vae.encode("a <unk> b"), vae.encode("a zebra b"))


def test_no_texts_and_one_text(vae):
    assert vae.encode([]).shape == (0, 4) and vae.decode(torch.zeros(0, 4)) == []
    assert torch.equal(vae.encode("a b"), vae.encode(["a b"]))


def test_several_texts_of_a_latent_stand_side_by_side(vae):
    latents = vae.encode(TEXTS)
    found = vae.decode(latents, num_beams=3, num_return_sequences=3, max_new_tokens=5)
    assert len(found) == 3 * len(TEXTS)
    assert found[3:6] == vae.decode(latents[1:2], num_beams=3, num_return_sequences=3, max_new_tokens=5)


def test_samples_of_the_posterior_scatter_around_its_mean(vae):
    torch.manual_seed(0)
    draws = torch.stack([vae.encode(TEXTS, sample=True) for _ in range(400)])
    deviation = draws.std(0)
    error = (draws.mean(0) - vae.encode(TEXTS)) / (deviation / 20)
    assert error.abs().max() < 5 and deviation.min() > 0


def test_draws_of_the_prior_repeat_by_their_seed(vae):
    first, again, other = (vae.sample(6, seed=seed, max_new_tokens=6) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 6
    options = {"max_new_tokens": 6, "do_sample": True, "seed": 3}
    state = torch.random.get_rng_state()
    assert vae.sample(6, **options) == vae.sample(6, **options)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("mode", ["slerp", "linear"])
def test_an_interpolation_begins_and_ends_with_the_reconstructions(vae, mode):
    path = vae.interpolate("a b c", vae.encode("d")[0], steps=4, mode=mode, max_new_tokens=6)
    assert len(path) == 4 and [path[0], path[-1]] == vae.reconstruct(["a b c", "d"], max_new_tokens=6)


def test_an_analogy_is_a_sum_of_latents(vae):
    a, b, c = vae.encode(["a b c", "d", "b a"])
    assert vae.analogy("a b c", "d", "b a", max_new_tokens=5) == vae.decode((b - a + c)[None], max_new_tokens=5)[0]
    assert vae.analogy(*vae.encode(["a b c", "d"]).split(1), "b a") == vae.analogy("a b c", "d", "b a")
    assert vae.analogy("d", "d", "b a", max_new_tokens=5) == vae.reconstruct("b a", max_new_tokens=5)[0]


def test_on_the_sphere_analogies_and_straight_ways_stay_there(make_model, tokenizer):
    vae = TextVaePipeline(make_model(posterior="vmf"), tokenizer)
    seen = []
    vae.decode = lambda latents, **options: seen.append(latents) or ["text"]
    vae.analogy("a", "b", "c d")
    vae.interpolate("a", "c d", steps=5, mode="linear")
    for points in seen:
        torch.testing.assert_close(points.norm(dim=1), torch.ones(len(points)))


def test_the_nearest_text_is_itself_and_the_order_is_that_of_the_cosines(vae):
    found = vae.nearest("d", TEXTS, k=3)
    assert found[0] == ("d", pytest.approx(1.0)) and [value for _, value in found] == sorted(
        (value for _, value in found), reverse=True
    )
    cosines = torch.nn.functional.cosine_similarity(vae.encode(TEXTS), vae.encode("d"))
    assert [value for _, value in vae.nearest("d", TEXTS, k=99)] == pytest.approx(
        sorted(cosines.tolist(), reverse=True)
    )
    assert vae.nearest("d", TEXTS, k=3, latents=vae.encode(TEXTS)) == found
    assert vae.nearest("d", iter(TEXTS), k=3, latents=vae.encode(TEXTS).tolist()) == found
    with pytest.raises(ValueError, match="k must be at least 1"):
        vae.nearest("d", TEXTS, k=0)
    with pytest.raises(ValueError, match="1 latents for 6 texts"):
        vae.nearest("d", TEXTS, latents=torch.zeros(1, 4))


def test_long_texts_are_cut_and_counted(vae, caplog):
    vae.max_length = 5
    with caplog.at_level(logging.WARNING):
        found = vae.encode(["a b c d e f", "a b c", "a b"])
    assert "1 of 3 texts have more than 5 tokens and were cut" in caplog.text
    assert torch.equal(found[0], found[1])


def test_vectors_go_into_a_data_set_by_its_map(vae):
    rows = Dataset.from_dict({"text": TEXTS})
    rows = rows.map(lambda batch: {"vector": vae.encode(batch["text"])}, batched=True, batch_size=4)
    np.testing.assert_allclose(np.array(rows["vector"][:]), vae.encode(TEXTS).numpy(), rtol=1e-5, atol=1e-6)


def test_a_saved_pipeline_comes_back_in_any_dtype(vae, tmp_path):
    vae.model.save_pretrained(tmp_path)
    vae.tokenizer.save_pretrained(tmp_path)
    again = TextVaePipeline.from_pretrained(str(tmp_path), device="cpu", batch_size=2)
    torch.testing.assert_close(again.encode(TEXTS), vae.encode(TEXTS), rtol=1e-5, atol=1e-6)
    half = TextVaePipeline.from_pretrained(str(tmp_path), device="cpu", dtype=torch.bfloat16)
    assert half.model.decoder.output.weight.dtype == torch.bfloat16
    assert half.encode(TEXTS).dtype == torch.float32
    assert len(half.reconstruct(TEXTS, max_new_tokens=4)) == len(TEXTS)


def test_what_cannot_be_used_is_named(vae, tokenizer, tmp_path):
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got int"):
        vae.encode(["a", 3])
    for wrong in ({"text": ["a"]}, None, 3):
        with pytest.raises(TypeError, match="texts must be strings, got a "):
            vae.encode(wrong)
    with pytest.raises(ValueError, match=r"b must be \(4,\) or \(batch, 4\), got \(3,\)"):
        vae.interpolate("a", torch.zeros(3))
    with pytest.raises(ValueError, match=r"latents must be \(batch, 4\), got \(2, 3\)"):
        vae.decode(torch.zeros(2, 3))
    dialogue = BnCvaeForConditionalGeneration(BnCvaeConfig(vocab_size=20, latent_size=2, hidden_size=4))
    with pytest.raises(TypeError, match="needs a whole text VAE, got a BnCvae"):
        TextVaePipeline(dialogue, tokenizer)
    dialogue.save_pretrained(tmp_path / "dialogue")
    with pytest.raises(ValueError, match="is a bncvae model"):
        TextVaePipeline.from_pretrained(str(tmp_path / "dialogue"))
    vae.model.model.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="lacks weights of a whole model"):
        TextVaePipeline.from_pretrained(str(tmp_path / "encoder"))


def test_a_bar_shows_only_in_long_calls(vae, capsys, monkeypatch):
    import transformers

    transformers.utils.logging.enable_progress_bar()
    try:
        vae.encode(TEXTS)
        assert "Encoding" not in capsys.readouterr().err
        monkeypatch.setattr(sys.modules["hf_bnvae.evaluation.text_order"], "BAR_AFTER_SECONDS", 0)
        vae.encode(TEXTS)
        assert "Encoding" in capsys.readouterr().err
    finally:
        transformers.utils.logging.disable_progress_bar()


def test_a_saved_pipeline_loads_as_the_same_one_with_what_its_card_is_written_from(vae, tmp_path):
    vae.folder = tmp_path / "run"
    vae.folder.mkdir()
    (vae.folder / "all_results.json").write_text('{"eval_kl": 1.5}')
    vae.save_pretrained(tmp_path / "saved")
    loaded = TextVaePipeline.from_pretrained(str(tmp_path / "saved"))
    assert torch.equal(loaded.encode(TEXTS), vae.encode(TEXTS))
    assert (tmp_path / "saved" / "all_results.json").read_text() == '{"eval_kl": 1.5}'


@pytest.mark.parametrize("changed_by_hand", [False, True])
def test_a_pipeline_saved_over_another_loads_with_its_own_tokenizer_and_beside_no_results(
    vae, make_model, tokenizer, tmp_path, changed_by_hand
):
    pair = TokenizerPair(tokenizer, build_tokenizer(["z y x w v u"], "word", 40, 1))
    sizes = {"encoder_vocab_size": 40, "vocab_size": 39}
    TextVaePipeline(make_model(**sizes), pair).save_pretrained(tmp_path)
    assert isinstance(TextVaePipeline.from_pretrained(str(tmp_path)).tokenizer, TokenizerPair)
    others = {"LICENSE": "mine", "notes.txt": "mine"}
    for name, text in (
        {"all_results.json": "{}", "run.json": "{}", "training.png": "", "vocab.txt": ""} | others
    ).items():
        (tmp_path / name).write_text(text)
    write_card(tmp_path)
    if changed_by_hand:
        others["README.md"] = (tmp_path / "README.md").read_text() + "By hand.\n"
        (tmp_path / "README.md").write_text(others["README.md"])
    vae.save_pretrained(tmp_path)
    loaded = TextVaePipeline.from_pretrained(str(tmp_path))
    assert type(loaded.tokenizer) is type(tokenizer) and torch.equal(loaded.encode(TEXTS), vae.encode(TEXTS))
    files = {path.name for path in tmp_path.iterdir() if path.suffix != ".py"}
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert files == model | others.keys()
    assert all((tmp_path / name).read_text() == text for name, text in others.items())


def test_a_pipeline_saved_into_a_folder_without_a_model_of_ours_leaves_its_files_alone(vae, tmp_path):
    others = {"run.json": "{}", "training.png": "", "vocab.txt": "mine", "README.md": "mine"}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    vae.save_pretrained(tmp_path)
    assert {name: (tmp_path / name).read_text() for name in others} == others


def test_draws_of_the_prior_are_those_of_the_model(vae):
    draws = vae.sample_prior(5, torch.Generator().manual_seed(1))
    assert torch.equal(draws, vae.model.sample_prior(5, torch.Generator().manual_seed(1)))
    assert draws.shape == (5, vae.latent_size)
