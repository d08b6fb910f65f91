"""TextVaePipeline on threads, with attributes, with stops, and around models of a checkpoint's own code."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from hf_bnvae import BnVaeForConditionalGeneration, TextVaePipeline
from hf_bnvae.data import build_tokenizer
from hf_bnvae.export import export_onnx
from tests.helpers import make_batch

ROOT = Path(__file__).parents[2]
TEXTS = ["a b c", "d e", "f g h i", "b a"]


@pytest.fixture
def vae(make_model):
    model = make_model()
    model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return TextVaePipeline(model, build_tokenizer(["a b c d e f g h i j"], "word", 40, 1), batch_size=4)


def test_a_seed_gives_the_same_texts_from_any_thread(vae):
    options = {"do_sample": True, "max_new_tokens": 8}
    wanted = vae.sample(4, seed=1, **options)
    before = torch.random.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: vae.sample(4, seed=1 + number % 2, **options), range(24)))
    assert all(texts == wanted for texts in found[::2])
    assert vae.sample(4, seed=1, **options) == wanted and torch.equal(torch.random.get_rng_state(), before)


def test_transfer_moves_a_text_along_the_way_from_one_kind_to_another(vae):
    options = {"max_new_tokens": 6}
    direction = vae.encode(TEXTS[:2]).mean(0) - vae.encode(TEXTS[2:]).mean(0)
    wanted = vae.decode(vae.encode(TEXTS) + 2 * direction, **options)
    assert vae.transfer(TEXTS, TEXTS[:2], TEXTS[2:], strength=2, **options) == wanted
    assert vae.transfer(TEXTS, TEXTS[:2], TEXTS[2:], strength=0, **options) == vae.reconstruct(TEXTS, **options)
    with pytest.raises(ValueError, match="away_from must hold at least one text"):
        vae.transfer(TEXTS, TEXTS, [])


def test_texts_like_some_examples_have_latents_like_theirs(vae, monkeypatch):
    drawn = []
    monkeypatch.setattr(vae, "decode", lambda latents, **options: drawn.append(latents) or [])
    vae.sample_like(["a b c"] * 400, 4000, seed=1)
    posterior = vae.model.infer(**vae.tokenizer(["a b c"], return_tensors="pt"))
    torch.testing.assert_close(drawn[0].mean(0), posterior.mean[0].detach(), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn[0].std(0), (posterior.logvar / 2).exp()[0].detach(), atol=0.2, rtol=0)
    with pytest.raises(ValueError, match="at least 2 examples"):
        vae.sample_like(["a"])


def test_a_text_ends_with_a_stop_string(vae):
    latents = torch.randn(6, 4)
    options = {"max_new_tokens": 12, "min_new_tokens": 12}
    free = vae.decode(latents, **options)
    letter = next(word for text in free for word in text.split()[:4])
    for stops in (letter, [letter, "zzz"]):
        stopped = vae.decode(latents, stop_strings=stops, max_new_tokens=12)
        for text, whole in zip(stopped, vae.decode(latents, max_new_tokens=12), strict=True):
            words = whole.split()
            assert text.split() == (words[: words.index(letter) + 1] if letter in words else words)


def test_unknown_words_of_a_call_are_said(vae, caplog):
    vae.encode(["zzz qqq"])
    assert "the texts: 100% of the words are unknown to the tokenizer" in caplog.text


def test_a_model_of_a_checkpoint_s_own_code_is_a_model(vae, tmp_path):
    vae.model.save_pretrained(tmp_path / "out")
    vae.tokenizer.save_pretrained(tmp_path / "out")
    code = (
        "import sys; from transformers import AutoModelForSeq2SeqLM; "
        "model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True); "
        "from hf_bnvae import TextVaePipeline; from hf_bnvae.export import export_encoder; "
        "from transformers import AutoTokenizer; "
        "assert 'transformers_modules' in type(model).__module__; "
        "vae = TextVaePipeline(model, AutoTokenizer.from_pretrained(sys.argv[1])); "
        "assert vae.encode(['a b']).shape == (1, 4); export_encoder(model, length=4)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-1500:]
    with pytest.raises(TypeError, match="needs a whole text VAE, got a Linear"):
        TextVaePipeline(torch.nn.Linear(2, 2), vae.tokenizer)


def test_onnx_has_names_free_sizes_and_no_half_precision(vae, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=r"reads fp32, and the model is in torch.bfloat16: export model.float\(\)"):
        export_onnx(BnVaeForConditionalGeneration(vae.model.config).to(torch.bfloat16), tmp_path / "half.onnx")
    export_onnx(vae.model, tmp_path / "encoder.onnx")
    session = runtime.InferenceSession(tmp_path / "encoder.onnx")
    assert [item.name for item in session.get_outputs()] == ["posterior_mean"]
    assert [item.shape for item in session.get_inputs()] == [["batch", "length"]] * 2


def test_a_batch_of_one_in_training_says_what_to_do(vae):
    batch = {name: values[:1] for name, values in make_batch([5, 6]).items()}
    with pytest.raises(ValueError, match=r"call \.eval\(\).*dataloader_drop_last=True"):
        vae.model.train()(**batch)
