"""TextVaePipeline on threads, with attributes, with stops, and around models of a checkpoint's own code."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from hf_bnvae import (
    BnVaeForConditionalGeneration,
    LanguageModelPipeline,
    LstmLMConfig,
    LstmLMForCausalLM,
    TextVaePipeline,
)
from hf_bnvae.data import CorpusError, TokenizerPair, VaeCollator, build_tokenizer
from hf_bnvae.evaluation import elbo_metrics, infer, nll
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


WRITES = {
    "decode": lambda vae, **options: vae.decode(vae.encode(TEXTS), **options),
    "reconstruct": lambda vae, **options: vae.reconstruct(TEXTS, **options),
    "sample": lambda vae, **options: vae.sample(4, **options),
    "sample_like": lambda vae, **options: vae.sample_like(TEXTS, 4, **options),
    "transfer": lambda vae, **options: vae.transfer(TEXTS, TEXTS[:2], TEXTS[2:], **options),
    "interpolate": lambda vae, **options: vae.interpolate("a b c", "d", **options),
    "analogy": lambda vae, **options: vae.analogy("a b c", "d", "b a", **options),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_method_that_writes_repeats_by_its_seed(vae, name):
    state = torch.random.get_rng_state()
    options = {"do_sample": True, "max_new_tokens": 12}
    first, again, other = (WRITES[name](vae, seed=seed, **options) for seed in (1, 1, 2))
    assert first == again != other and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["encode", "score", *WRITES])
def test_a_model_in_training_reads_and_writes_in_evaluation_and_trains_on(vae, name):
    def call():
        if name in WRITES:
            return WRITES[name](vae, seed=1, max_new_tokens=6)
        return getattr(vae, name)(TEXTS)

    wanted = call()
    vae.model.train()
    vae.model.decoder.eval()
    modes = [module.training for module in vae.model.modules()]
    weights = {key: tensor.clone() for key, tensor in vae.model.state_dict().items()}
    again = TextVaePipeline(vae.model, vae.tokenizer, batch_size=4)
    assert [module.training for module in again.model.modules()] == modes
    found = call()
    assert torch.equal(found, wanted) if name == "encode" else found == wanted
    assert [module.training for module in vae.model.modules()] == modes
    assert all(torch.equal(tensor, weights[key]) for key, tensor in vae.model.state_dict().items())


def test_a_score_is_that_of_an_evaluation_whatever_the_other_texts(vae):
    texts = ["f g h i j a b", *TEXTS]
    scores = vae.score(texts, nll_samples=20, seed=3)
    assert list(scores) == ["elbo", "rec", "kl", "nll"] and all(len(values) == 5 for values in scores.values())
    assert list(vae.score(texts)) == ["elbo", "rec", "kl"]
    for index, text in enumerate(texts):
        batches = [VaeCollator(0)([{"input_ids": vae.tokenizer(text)["input_ids"]}])]
        wanted = elbo_metrics(infer(vae.model, batches, seed=3)) | nll(vae.model, batches, 20, seed=3)
        assert {name: values[index] for name, values in scores.items()} == pytest.approx(
            {name: wanted[name] for name in scores}, rel=1e-4
        )
    assert vae.score([]) == {"elbo": [], "rec": [], "kl": []}
    assert vae.score("a b")["kl"] == pytest.approx(vae.score(["a b", "c"])["kl"][:1])
    with pytest.raises(ValueError, match="nll_samples must be at least 1, got 0"):
        vae.score(TEXTS, nll_samples=0)


def test_a_score_of_two_tokenizers_is_of_what_the_decoder_writes(vae):
    writes = build_tokenizer(["j i h g f e d c b a"], "word", 40, 1)
    scores = TextVaePipeline(vae.model, TokenizerPair(vae.tokenizer, writes)).score(TEXTS)
    rows = [{"input_ids": vae.tokenizer(text)["input_ids"], "labels": writes(text)["input_ids"][1:]} for text in TEXTS]
    found = infer(vae.model, [VaeCollator(0)(rows)])
    assert scores["rec"] == pytest.approx(found.reconstruction.tolist(), rel=1e-4)


def test_a_language_model_scores_texts_by_their_nats(vae):
    config = LstmLMConfig(vocab_size=len(vae.tokenizer), embedding_size=8, hidden_size=16, initializer_range=0.5)
    lm = LanguageModelPipeline(LstmLMForCausalLM(config).train(), vae.tokenizer)
    scores = lm.score(TEXTS, batch_size=2)
    assert lm.model.training and list(scores) == ["nll"] and lm.score([]) == {"nll": []}
    lm.model.eval()
    for text, found in zip(TEXTS, scores["nll"], strict=True):
        ids = lm.tokenizer(text, return_tensors="pt")["input_ids"]
        assert found == pytest.approx(lm.model(ids, labels=ids).loss.item(), rel=1e-4)


def test_a_tokenizer_without_ends_is_refused_where_texts_are_read(vae):
    vae.tokenizer.backend_tokenizer.post_processor = None
    config = LstmLMConfig(vocab_size=len(vae.tokenizer), embedding_size=8, hidden_size=16)
    lm = LanguageModelPipeline(LstmLMForCausalLM(config), vae.tokenizer)
    for read in (vae.encode, vae.score, vae.reconstruct, lm.score):
        with pytest.raises(CorpusError, match=r"around each text: load it by hf_bnvae\.data\.load_tokenizer"):
            read(TEXTS)
    assert len(vae.sample(2, max_new_tokens=3)) == len(lm.sample(2, max_new_tokens=3)) == 2


def test_latents_may_be_what_users_have_and_errors_say_what_they_are(vae):
    latents, options = vae.encode(TEXTS), {"max_new_tokens": 5}
    wanted = vae.decode(latents, **options)
    for same in (list(latents), latents.tolist(), list(latents.numpy()), latents.half().float().new_tensor(latents)):
        assert vae.decode(same, **options) == wanted
    assert vae.decode([]) == []
    path = vae.interpolate(latents[0], latents[1:2], **options)
    assert path == vae.interpolate(latents[0].tolist(), latents[1].numpy(), **options)
    wrong = {
        r"^latents must be \(batch, 4\), got \(4,\); latents\[None\] makes a batch of one$": lambda: vae.decode(
            latents[0]
        ),
        r"^latents must be finite numbers, got others in row 2": lambda: vae.decode(
            latents / (torch.arange(4.0) - 2)[:, None]
        ),
        r"^latents must be \(batch, 4\) numbers, got a list of str$": lambda: vae.decode(["a"]),
        r"^latents must be \(batch, 4\) numbers, got a NoneType$": lambda: vae.decode(None),
        r"^a must be one text, or one latent, got a list of texts$": lambda: vae.interpolate(["a"], ["b"]),
        r"^text must be one text, or one latent, got a list of texts$": lambda: vae.nearest(["a"], TEXTS),
        r"^c must be one text, or one latent, got 4 latents$": lambda: vae.analogy("a", "b", latents),
    }
    for sentence, call in wrong.items():
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_max_length_of_the_call_counts(vae):
    long = vae.decode(torch.randn(20, 4), max_length=3)
    assert max(len(text.split()) for text in long) == 2


def test_a_pipeline_says_what_it_is_and_moves(vae):
    assert repr(vae) == "TextVaePipeline(BnVaeForConditionalGeneration, device='cpu', dtype=torch.float32)"
    assert vae.device == torch.device("cpu") and vae.to(torch.bfloat16) is vae
    assert "torch.bfloat16" in repr(vae) and vae.to("meta").device.type == "meta"
