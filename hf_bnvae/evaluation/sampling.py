"""From contexts to responses: as many draws of the prior for each as are wanted, decoded together."""

from collections.abc import Iterable, Mapping

import torch
from tqdm.auto import tqdm

from ..data.tokenizer_pair import written_texts
from ..models.noise import keyed_noise
from .model_protocols import RespondingModel

RESPONSE_NOISE_SEED = 1
OWN_OPTIONS = ("latents", "num_latents", "generator", "return_dict_in_generate")
"""Options of `generate` that set the draws, or give no texts."""


@torch.no_grad()
def sample_responses(
    model: RespondingModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    tokenizer,
    num_samples: int = 10,
    seed: int = 0,
    progress: bool = False,
    **generation_options,
) -> list[list[str]]:
    """`num_samples` responses to each context, each decoded (greedily by default) from a draw of p(z|x) of its own.

    The draws are keyed by the context, so that a response does not change with the batches or with `num_samples`.

    Args:
        model: a CVAE with its decoder.
        batches: of a `data.DialogueCollator`; the responses in them are not read.
        generation_options: of Transformers' `generate`, but for those that set the draws or give no texts.

    Returns:
        The words of each response, special symbols but `<unk>` left out, in the order of the batches.

    Raises:
        ValueError: for such an option.
    """
    if generation_options.get("num_return_sequences", 1) != 1:
        raise ValueError("num_return_sequences: ask for more responses by num_samples")
    for name in OWN_OPTIONS:
        if name in generation_options:
            raise ValueError(f"{name} is no option here: call generate of the model with it")
    if generation_options.get("stop_strings") is not None:
        generation_options["tokenizer"] = tokenizer
    was_training = model.training
    model.eval()
    responses: list[list[str]] = []
    for batch in tqdm(batches, desc=f"{num_samples} responses each", disable=not progress):
        inputs = {
            name: tensor.to(model.device) for name, tensor in batch.items() if name not in ("labels", "response_index")
        }
        keys = model.noise_keys(**inputs)
        noise = keyed_noise(keys, range(num_samples), model.config.latent_size, RESPONSE_NOISE_SEED + seed)
        latents = model.model.prior_of(**inputs).rsample(noise=noise).flatten(0, 1)
        tokens = model.generate(latents=latents, **inputs, **generation_options)
        texts = written_texts(tokens, tokenizer)
        responses += [texts[start : start + num_samples] for start in range(0, len(texts), num_samples)]
    model.train(was_training)
    return responses
