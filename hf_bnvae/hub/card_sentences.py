"""What a card says of a model in sentences."""

import math

from transformers import PreTrainedConfig

from ..analysis.case_study import escaped_markdown
from ..evaluation import collapse_verdict
from ..methods import DIALOGUE_METHODS, METHODS
from ..models.posteriors import POSTERIORS
from .card_metrics import SPLITS, shown_number
from .model_kinds import CLASSIFIER, auto_class_of, has_decoder

LABELS = 20
"""Labels of a classifier that a card names."""


def describe_kind(config: PreTrainedConfig) -> str:
    """What a checkpoint is, in one sentence, as Markdown."""
    numbers = f"{config.latent_size} latent numbers"
    reads = "a sentence"
    if getattr(config, "encoder", None) == "given":
        reads = f"the embedding of a sentence, of {config.encoder_hidden_size} numbers,"
    if auto_class_of(config) == CLASSIFIER:
        labels = [escaped_markdown(str(label)) for label in (config.id2label or {}).values()]
        named = ", ".join(labels[:LABELS]) + (", …" if len(labels) > LABELS else "")
        return (
            f"A classifier of sentences on the encoder of a text VAE: it maps {reads} to {numbers}, and these to "
            f"{len(labels)} labels ({named})."
        )
    if config.model_type == "bncvae":
        if not has_decoder(config):
            return f"The encoder of a conditional VAE alone: it maps the last turns of a dialogue to {numbers}."
        return (
            "A conditional VAE that answers the last turns of a dialogue: each draw of its "
            f"{numbers} gives another response."
        )
    if config.model_type == "lstm_lm" and config.decoder == "pretrained":
        kind = config.decoder_config.model_type
        return (
            f"A language model on a pretrained decoder ({kind}): that of a text VAE, without a latent, as a baseline."
        )
    if config.model_type == "lstm_lm":
        return "An LSTM language model: a text VAE's decoder alone, without a latent, as a baseline."
    if not has_decoder(config):
        return f"The encoder of a text VAE alone: it maps {reads} to {numbers}, and has no decoder."
    part = "a map from" if reads != "a sentence" else "an encoder that maps"
    return f"A text VAE: {part} {reads} to {numbers}, and a decoder that writes a sentence from them."


def describe_model(config: PreTrainedConfig, results: dict, record: dict, unit: str) -> list[str]:
    """What the model is, what makes it so, and what it learnt from: a sentence each, as Markdown."""
    method = (METHODS | DIALOGUE_METHODS).get(record.get("method", ""))
    how = ""
    if config.latent_size:
        how = f"Its posterior is of the family `{config.posterior}`"
        if config.posterior in ("batch_norm", "du"):
            how += f" with γ = {config.gamma:.4g}"
        if config.rate is not None:
            how += f", at a rate of {config.rate:g} nats a {unit}"
        if getattr(config, "decorrelation", 0) > 0 and config.kl_weight > 0:
            how += f", trained towards uncorrelated dimensions (`decorrelation` {config.decorrelation:g})"
        how += "."
    if method is not None:
        how = f"Method `{record['method']}`: {escaped_markdown(method.summary)}." + (f" {how}" if how else "")
    learnt = ["It learnt"]
    if "train_sentences" in results:
        learnt.append(f"from {results['train_sentences']:,} {unit}s")
    if "name" in record.get("data", {}):
        learnt.append(f"of {escaped_markdown(record['data']['name'])}")
    if "train_epochs" in results:
        epochs = shown_number(results["train_epochs"])
        learnt.append(f"in {epochs} epoch{'' if epochs == '1' else 's'}")
    learnt += [f"with seed {results['seed']}"] if "seed" in results else []
    started = " and ".join(map(escaped_markdown, base_models(config, record)))
    return [
        describe_kind(config),
        how,
        f"Its training started from the weights of {started}." if started else "",
        " ".join(learnt) + "." if len(learnt) > 1 else "",
        *describe_bases(config),
    ]


def base_models(config: PreTrainedConfig, record: dict) -> list[str]:
    """The names on the Hub of the models whose weights a training started from."""
    said = record.get("base_model") or []
    left_out = [getattr(config, f"{part}_base", None) or {} for part in ("encoder", "decoder")]
    names = [*([said] if isinstance(said, str) else said), *(base["name"] for base in left_out if "revision" in base)]
    return list(dict.fromkeys(names))


def describe_bases(config: PreTrainedConfig) -> list[str]:
    """Where weights lie that are not saved with a model, and what its adapters take: sentences, as Markdown."""
    bases = ((part, getattr(config, f"{part}_base", None)) for part in ("encoder", "decoder"))
    adapters = getattr(config, "decoder_lora", None) is not None
    apart = ["The adapters of its decoder stand apart from its weights, and loading them takes the package peft."]
    return [
        f"The weights of its {part} are not in this folder and are read from "
        f"{escaped_markdown(base['name'])}{' at revision ' + base['revision'] if base.get('revision') else ''}."
        for part, base in bases
        if base is not None
    ] + (apart if adapters else [])


def _bound_formula(config: PreTrainedConfig) -> str:
    """The formula of a configuration's bound on the KL, and the values in it."""
    posterior = POSTERIORS[config.posterior]
    assert posterior.rate_field is not None
    letter = {"gamma": "γ", "tau": "τ", "delta": "δ"}.get(posterior.rate_field, posterior.rate_field)
    value = getattr(config, posterior.rate_field)
    return f"{posterior.bound} with n = {config.latent_size} and {letter} = {value:.4g}"


def diagnose(config: PreTrainedConfig, results: dict, prefixes: list[str]) -> list[str]:
    """Whether the decoder uses the latent, by the last split that was evaluated: sentences, as Markdown.

    The words and the thresholds are those of `evaluation.collapse_verdict`.
    """
    prefix = prefixes[-1] if prefixes else ""
    measured = [results[key] for name in ("kl", "mi", "au") if (key := f"{prefix}_{name}") in results]
    measures = config.latent_size and has_decoder(config)
    if not measures or f"{prefix}_kl" not in results or not all(map(math.isfinite, measured)):
        return []
    collapsed, signs = collapse_verdict(results, config.latent_size, prefix, getattr(config, "posterior", ""))
    where = f"On the {SPLITS[prefix]} split"
    if collapsed:
        sentences = [f"**The posterior has collapsed.** {where} {signs}."]
    else:
        sentences = [f"**The posterior has not collapsed.** {where} {signs}."]
    if config.kl_lower_bound is not None:
        formula = _bound_formula(config)
        bound, kl = config.kl_lower_bound, results[f"{prefix}_kl"]
        sentences.append(
            f"Its bound on the KL is {bound:.2f} nats ({formula}), and the KL here is {kl:.2f}, "
            + ("not under it." if kl >= bound else f"{1 - kl / bound:.1%} under it.")
            + (
                " The bound is on the mean over the training sentences, whose statistics the normalisation holds; on "
                "other sentences the KL may fall a few percent under it."
                if config.normalises_batches
                else ""
            )
        )
    prior = results.get(f"{prefix}_kl_prior")
    if prior is not None and math.isfinite(prior):
        sentences.append(
            f"KL is that of the posterior from the prior of the context; that prior is {prior:.2f} nats from N(0, I)."
        )
    if f"{prefix}_au" in results:
        sentences.append(
            "A unit is active where its posterior mean varies from sentence to sentence (variance above 0.01). MI is "
            "how much the latent tells of the sentence; it cannot be more than the logarithm of the number of "
            "sentences that were judged."
        )
    return sentences
