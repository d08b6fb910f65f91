"""Labels in any of the forms that Transformers knows, as the decoders predict them."""

import torch
import torch.nn.functional as F

from .layers import to_the_left
from .objectives import IGNORED


def words_to_predict(labels: torch.Tensor, config, in_front: bool = False) -> torch.Tensor:
    """Labels `(batch, length)` with the first word to predict in the first column; the shape stays.

    Padding before the first word of a row goes behind its last. A start symbol in front of every row, as in labels that
    repeat `input_ids`, is no word to predict and is dropped. Labels that are so already stay as they are, to the bit,
    and no GPU is waited for.

    Args:
        config: says by `decoder_start_token_id` which symbol that is; without one none is dropped.
        in_front: no row has padding before its first word.
    """
    if not in_front:
        labels = to_the_left(labels, (labels != IGNORED).long().cumsum(1) > 0)
    start = getattr(config, "decoder_start_token_id", None)
    if labels.size(1) < 2 or start is None:
        return labels
    first, second = labels[:, 0], labels[:, 1]
    only_starts = ((first == start) | (first == IGNORED)).all()
    # Where the end symbol is the start symbol too, it stands alone in labels of empty texts.
    has_start = only_starts & (second != IGNORED).any()
    return torch.where(has_start, F.pad(labels[:, 1:], (0, 1), value=IGNORED), labels)


def behind_the_start(labels: torch.Tensor, config) -> torch.Tensor:
    """What the decoder reads to predict `(batch, length)` labels: they behind the start symbol, padding restored."""
    start = labels.new_full((labels.size(0), 1), config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1]], 1)
    return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)


def words_of_inputs(labels: torch.Tensor, decoder_input_ids: torch.Tensor, config) -> torch.Tensor:
    """`words_to_predict` of labels beside the decoder's inputs that were made of them; others stay as they are."""
    words = words_to_predict(labels, config)
    made = behind_the_start(words, config)
    if made.shape != decoder_input_ids.shape:
        return labels
    return torch.where((made == decoder_input_ids).all(), words, labels)
