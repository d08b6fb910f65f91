"""The encoder in other runtimes and tools gives the same vectors."""

import numpy as np
import pytest
import torch

from hf_bnvae import TextVaePipeline
from hf_bnvae.data import build_tokenizer
from hf_bnvae.export import export_encoder, export_onnx
from tests.helpers import make_batch

BATCHES = [make_batch([7, 3, 9, 4], width=12), make_batch([12], width=12)]


def model_with(make_model, **changes):
    model = make_model(**changes)
    if changes.get("posterior") != "vmf":
        model.recompute_statistics([make_batch([5, 9, 7, 6, 8])])
    return model


@pytest.mark.parametrize("posterior", ["batch_norm", "matched", "vmf", "du"])
def test_an_exported_encoder_reads_batches_of_any_size(make_model, posterior):
    model = model_with(make_model, posterior=posterior).train()
    program = export_encoder(model, length=12).module()
    assert model.training
    model.eval()
    for batch in BATCHES:
        found = program(batch["input_ids"], batch["attention_mask"])
        torch.testing.assert_close(found, model.encode(batch["input_ids"], batch["attention_mask"]))


@pytest.mark.parametrize("posterior", ["batch_norm", "matched"])
def test_onnx_gives_the_same_vectors_at_any_length(make_model, tmp_path, posterior):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = model_with(make_model, posterior=posterior)
    export_onnx(model.model, tmp_path / "encoder.onnx")
    session = runtime.InferenceSession(tmp_path / "encoder.onnx")
    for batch in (*BATCHES, make_batch([90, 3, 70])):
        given = {name: batch[name].numpy() for name in ("input_ids", "attention_mask")}
        expected = model.encode(batch["input_ids"], batch["attention_mask"]).numpy()
        np.testing.assert_allclose(session.run(None, given)[0], expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_exported_is_refused(make_model):
    with pytest.raises(ValueError, match="refined posterior"):
        export_encoder(make_model(posterior="gaussian", refinement_steps=2))
    with pytest.raises(ValueError, match="not a Linear"):
        export_encoder(torch.nn.Linear(2, 2))


def test_sentence_transformers_use_the_posterior_mean(make_model, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    from hf_bnvae.sentence_embeddings import TextVaeModule

    texts = ["a b c", "d", "e f g h i j", "b a"]
    tokenizer = build_tokenizer(["a b c d e f g h i j"], "word", 40, 1)
    model = model_with(make_model)
    expected = TextVaePipeline(model, tokenizer).encode(texts)
    model.save_pretrained(tmp_path / "vae")
    tokenizer.save_pretrained(tmp_path / "vae")
    embedder = library.SentenceTransformer(modules=[TextVaeModule.from_pretrained(str(tmp_path / "vae"))], device="cpu")
    found = embedder.encode(texts, batch_size=2, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert embedder.get_embedding_dimension() == 4
    assert embedder.similarity(found, found).shape == (4, 4)
    embedder.save(str(tmp_path / "saved"))
    again = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    torch.testing.assert_close(again.encode(texts, convert_to_tensor=True), found)
