"""What a latent is worth in texts: whether it says a sentence again, and whether draws of the prior read well."""

from collections.abc import Iterable, Mapping

import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers.utils import logging

from ..data.batches import VaeCollator
from ..data.encoded_texts import encode_texts
from ..data.tokenizer_pair import written_texts
from ..models.encoders import ENCODER_INPUTS
from ..models.labels import words_to_predict
from ..models.objectives import IGNORED
from ..models.pretrained_parts import longest_text
from .likelihood import nll
from .model_protocols import GeneratingModel, SampledModel

SAMPLES_AT_ONCE = 100
MOST_TOKENS = 1 << 20

logger = logging.get_logger(__name__)


@torch.no_grad()
def evaluate_reconstructions(
    model: GeneratingModel,
    batches: Iterable[Mapping[str, torch.Tensor]],
    tokenizer,
    shared: bool = False,
    progress: bool = False,
) -> dict[str, float]:
    """How well greedy decoding says sentences again from the mean of their posterior.

    Args:
        model: a text VAE with its decoder.
        batches: of a collator; sentences of like length together save time.
        shared: the batches are this process's share, and the result is that of all shares together.

    Returns:
        `reconstruction_bleu`, sacrebleu's corpus BLEU-4 in percent between texts without special tokens (an unknown
        word is one), and `exact_match`, the share of sentences of which every token comes back.

    Raises:
        ValueError: there are no batches.
    """
    from sacrebleu.metrics import BLEU  # here, because no training needs it

    was_training = model.training
    model.eval()
    compared: list[tuple[str, str, bool]] = []
    for batch in tqdm(batches, desc="Reconstructions", disable=not progress):
        labels = words_to_predict(batch["labels"], model.config)
        read = {name: batch[name].to(model.device) for name in ENCODER_INPUTS if name in batch}
        written = model.generate(latents=model.encode(**read), do_sample=False, num_beams=1).cpu()[:, 1:]
        wanted = [row[row != IGNORED].tolist() for row in labels]
        given = [_up_to_the_end(row, model.config) for row in written.tolist()]
        texts = (tokenizer.batch_decode(rows, skip_special_tokens=True) for rows in (given, wanted))
        same = [one == other for one, other in zip(given, wanted, strict=True)]
        compared += zip(*texts, same, strict=True)
    model.train(was_training)
    if shared:
        compared = gather_object(compared)
    if not compared:
        raise ValueError("no batches to evaluate")
    hypotheses, references, matches = (list(column) for column in zip(*compared, strict=True))
    bleu = BLEU(force=True).corpus_score(hypotheses, [references])
    return {"reconstruction_bleu": float(bleu.score), "exact_match": sum(matches) / len(matches)}


def _up_to_the_end(ids: list[int], config) -> list[int]:
    """Token ids with the end symbol, and without what stands behind it."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    end = next((index for index, token in enumerate(ids) if token in ends), len(ids))
    return ids[: end + 1]


@torch.no_grad()
def sample_ppl(
    model: GeneratingModel,
    tokenizer,
    language_model: SampledModel,
    its_tokenizer,
    num_samples: int = 1_000,
    seed: int = 0,
) -> float:
    """Perplexity, under a language model of the same corpus, of texts drawn from the prior and the decoder.

    It is per token of the language model, so per word where that has a vocabulary of words.

    A model that has learnt the corpus writes what the language model expects: the perplexity is then about that of real
    sentences. Far above it the prior meets latents that no sentence has; far below it the texts are all alike.

    Args:
        model: a text VAE with its decoder; each word is drawn from its distribution.
        language_model: an `LstmLMForCausalLM`, of an LSTM or of a pretrained decoder, and `its_tokenizer`.
        num_samples: texts.
        seed: of the draws; the generators of the caller are left alone.
    """
    was_training = model.training
    model.eval()
    texts: list[str] = []
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for start in range(0, num_samples, SAMPLES_AT_ONCE):
            count = min(SAMPLES_AT_ONCE, num_samples - start)
            texts += written_texts(model.sample(count, do_sample=True, top_k=0, num_beams=1), tokenizer)
    model.train(was_training)
    most = longest_text(getattr(language_model.config, "decoder_config", None), MOST_TOKENS)
    rows, cut = encode_texts(texts, its_tokenizer, most)
    if any(cut):
        logger.warning(f"{sum(cut):,} of {len(texts):,} samples are cut at the {most:,} tokens of the language model.")
    collate = VaeCollator(its_tokenizer.pad_token_id)
    rows = sorted(rows, key=len)
    batches = (
        collate([{"input_ids": row} for row in rows[start : start + SAMPLES_AT_ONCE]])
        for start in range(0, len(rows), SAMPLES_AT_ONCE)
    )
    return nll(language_model, batches)["ppl"]
