"""What a checkpoint holds: a whole model, an encoder alone or a classifier."""

from transformers import PreTrainedConfig

WHOLE = {
    "bnvae": "AutoModelForSeq2SeqLM",
    "bncvae": "AutoModelForSeq2SeqLM",
    "lstm_lm": "AutoModelForCausalLM",
}
"""The Auto classes of whole models, by the types of their configurations."""
CLASSIFIER = "AutoModelForSequenceClassification"
ENCODER = "AutoModel"


def auto_class_of(config: PreTrainedConfig) -> str:
    """The Auto class of what was saved with a configuration; that of a whole model where nothing was."""
    saved = config.architectures or []
    found = (name for name, reference in config.auto_map.items() if reference.rpartition(".")[2] in saved)
    return next(found, WHOLE[config.model_type])


def has_decoder(config: PreTrainedConfig) -> bool:
    """Whether a checkpoint writes texts."""
    return auto_class_of(config) == WHOLE[config.model_type]


def pipeline_tag_of(config: PreTrainedConfig) -> str | None:
    """The task whose pipeline loads a checkpoint; none of Transformers answers dialogues."""
    if auto_class_of(config) == CLASSIFIER:
        return "text-classification"
    return {"bnvae": "feature-extraction", "lstm_lm": "text-generation"}.get(config.model_type)


def has_two_tokenizers(config: PreTrainedConfig) -> bool:
    """Whether a model reads by one tokenizer and writes by another."""
    reads = config.model_type == "bnvae" and config.encoder != "given"
    return reads and has_decoder(config) and not config.shares_vocabulary
