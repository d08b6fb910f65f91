"""The encoder for other runtimes: `torch.export`, and ONNX (extra `onnx`)."""

from pathlib import Path

import torch
from torch import nn

from .models import BnVaeForConditionalGeneration, BnVaeForSequenceClassification, BnVaeModel
from .models.modeling_common import is_kind

TextVae = BnVaeModel | BnVaeForConditionalGeneration | BnVaeForSequenceClassification


class _PosteriorMean(nn.Module):
    def __init__(self, encoder: BnVaeModel):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.encoder.infer(input_ids, attention_mask).mean


def export_encoder(model: TextVae, length: int = 64) -> torch.export.ExportedProgram:
    """The map from `input_ids` and `attention_mask`, both `(batch, length)`, to posterior means `(batch, latent_size)`.

    Batches may have any size. `torch.export` fixes the length of what an LSTM reads: pad to it on the right, which
    changes nothing. In ONNX (`export_onnx`) the length is free.

    Raises:
        ValueError: for a model that is no text VAE, that reads embeddings, or whose posterior is refined by the
            decoder.
    """
    return _program(model, length, {0: torch.export.Dim("batch")})


def _program(model, length: int, sizes: dict) -> torch.export.ExportedProgram:
    whole = (BnVaeForConditionalGeneration, BnVaeForSequenceClassification)
    encoder = model.model if is_kind(model, *whole) else model
    if not is_kind(encoder, BnVaeModel):
        raise ValueError(f"the encoder of a text VAE can be exported, not a {type(model).__name__}")
    if encoder.config.refinement_steps > 0:
        raise ValueError("a refined posterior takes gradients of the decoder, which cannot be exported")
    if encoder.config.encoder == "given":
        raise ValueError("this model reads embeddings and has no encoder of token ids to export")
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")
    ids = torch.full((2, length), encoder.config.bos_token_id or 1, device=encoder.device)
    was_training = encoder.training
    try:
        inputs = (ids, torch.ones_like(ids))
        return torch.export.export(_PosteriorMean(encoder.eval()), inputs, dynamic_shapes=(sizes, sizes))
    finally:
        encoder.train(was_training)


def export_onnx(model: TextVae, path: str | Path) -> None:
    """Write the same map as ONNX, for batches of any size and length.

    Its inputs are `input_ids` and `attention_mask`, its output is `posterior_mean`.

    Raises:
        ValueError: as `export_encoder`; for a model in half precision, which ONNX's LSTM does not read; where onnx and
            onnxscript are not installed, or there is no such folder.
    """
    try:
        from onnxscript import ir
    except ImportError as error:
        raise ValueError("writing ONNX takes onnx and onnxscript: pip install 'hf-bnvae[onnx]'") from error
    if not Path(path).resolve().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {Path(path).parent}")
    if getattr(model, "dtype", torch.float32) != torch.float32:
        raise ValueError(f"ONNX's LSTM reads fp32, and the model is in {model.dtype}: export model.float()")
    free = torch.export.Dim.AUTO
    program = _program(model, 64, {0: free, 1: free})
    inputs, outputs = ["input_ids", "attention_mask"], ["posterior_mean"]
    exported = torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=inputs, output_names=outputs)
    assert exported is not None
    graph = exported.model.graph
    for value in graph.inputs:
        value.shape = ir.Shape(["batch", "length"])
    graph.outputs[0].shape = ir.Shape(["batch", model.config.latent_size])
    exported.save(str(path))
