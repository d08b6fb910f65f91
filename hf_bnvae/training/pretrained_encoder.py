"""A model that starts from the encoder of a trained one, such as an autoencoder's (Li et al. 2019)."""

from ..errors import ParameterError
from ..models import BnVaeForConditionalGeneration

EQUAL_SIZES = ("vocab_size", "embedding_size", "hidden_size", "latent_size")
SIZES_OF_AN_ENCODER = (*EQUAL_SIZES[1:], "encoder_embedding_size", "encoder_hidden_size")
DECODER_CHOICES = ("decoder", "tie_word_embeddings", "cnn_dilations", "cnn_kernel_size")


def start_from_encoder(model: BnVaeForConditionalGeneration, source, name: str, reset_decoder: bool) -> str:
    """Give a new model the weights of a trained one: the encoder with its heads, and the decoder unless it is reset.

    Args:
        source: the trained model.
        name: its folder or its Hub id.
        reset_decoder: leave the new model's decoder as it is.

    Returns:
        What was taken, in one sentence.

    Raises:
        ParameterError: `source` is no text VAE, or differs from the model in a size or in the decoder.
    """
    if not isinstance(source, BnVaeForConditionalGeneration):
        raise ParameterError(f"`pretrained_encoder` {name} is a language model, which has no encoder")
    _check_equal(model.config, source.config, name, ("encoder",), "name a text VAE with such an encoder")
    _check_equal(model.config, source.config, name, EQUAL_SIZES, "give both models the same sizes")
    if not reset_decoder:
        _check_equal(model.config, source.config, name, DECODER_CHOICES, "add `reset_decoder`")
        model.decoder.load_state_dict(source.decoder.state_dict())
    new = model.model.load_state_dict(source.model.state_dict(), strict=False).missing_keys
    taken = "the encoder" if reset_decoder else "the encoder and the decoder"
    return f"{taken} of {name}" + (f"; new are {', '.join(new)}" if new else "")


def _check_equal(config, source, name: str, fields: tuple[str, ...], remedy: str) -> None:
    for field in fields:
        theirs, ours = getattr(source, field), getattr(config, field)
        if theirs != ours:
            raise ParameterError(
                f"`pretrained_encoder` {name} has {field} {theirs} and the arguments say {ours}: {remedy}"
            )
