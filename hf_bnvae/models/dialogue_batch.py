"""A batch of dialogues in one form: every utterance once, and which of them are context and response."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .labels import words_to_predict
from .noise import sentence_keys
from .objectives import IGNORED


@dataclass
class DialogueBatch:
    """Contexts and responses, each utterance once.

    Args:
        input_ids, attention_mask: the utterances, `(utterances, length)`, padded on either side.
        context_index: which of them are the context of each response, oldest first, `(batch, turns)`; −1 for none.
        own_turns: 1 where the speaker of that turn is the one who responds, `(batch, turns)`.
        response_index: which utterance is the response, `(batch,)`; None where it is not known.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    context_index: torch.Tensor
    own_turns: torch.Tensor
    response_index: torch.Tensor | None

    def keys(self) -> torch.Tensor:
        """A key of each context, with its response where that is known, `(batch,)`: see `noise.sentence_keys`."""
        keys = sentence_keys(self.input_ids, self.attention_mask)
        present = self.context_index >= 0
        columns = [keys[self.context_index.clamp(min=0)]]
        if self.response_index is not None:
            columns.insert(0, keys[self.response_index].unsqueeze(1))
            present = F.pad(present, (1, 0), value=True)
        return sentence_keys(torch.cat(columns, 1), present)


def dialogue_batch(
    config,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    context_index: torch.Tensor | None = None,
    own_turns: torch.Tensor | None = None,
    response_index: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
) -> DialogueBatch:
    """Either form of a batch that `BnCvaeModel` reads, with the turns of each context in front.

    Args:
        config: has `pad_token_id`, `bos_token_id` and `decoder_start_token_id`.
        labels: the responses, `(batch, length)`, where `response_index` does not say which utterances they are.
    """
    mask = input_ids != config.pad_token_id if attention_mask is None else attention_mask.bool()
    if context_index is None:
        if input_ids.dim() == 2:
            input_ids, mask = input_ids.unsqueeze(1), mask.unsqueeze(1)
        context_index = torch.arange(mask.size(0) * mask.size(1), device=mask.device).view(mask.shape[:2])
        context_index = context_index.masked_fill(~mask.any(-1), -1)
        input_ids, mask = input_ids.flatten(0, 1), mask.flatten(0, 1)
    if response_index is None and labels is not None:
        response_index = len(input_ids) + torch.arange(len(labels), device=labels.device)
        input_ids, mask = _with_responses(config, input_ids, mask, words_to_predict(labels, config))
    present = context_index >= 0
    order = present.long().argsort(dim=1, descending=True, stable=True)
    if own_turns is None:
        turns_left = present.flip(1).long().cumsum(1).flip(1)
        own_turns = (turns_left + 1) % 2
    context_index, own_turns = context_index.gather(1, order), own_turns.gather(1, order)
    return DialogueBatch(input_ids, mask, context_index, own_turns, response_index)


def _with_responses(config, input_ids, mask, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """The utterances with responses, start symbol in front, behind them."""
    start = labels.new_full((len(labels), 1), config.bos_token_id)
    words = F.pad(labels != IGNORED, (1, 0), value=True)
    responses = torch.cat([start, labels], 1).masked_fill(~words, config.pad_token_id)
    width = max(input_ids.size(1), responses.size(1))
    input_ids, responses = (
        F.pad(ids, (0, width - ids.size(1)), value=config.pad_token_id) for ids in (input_ids, responses)
    )
    mask, words = (F.pad(part, (0, width - part.size(1))) for part in (mask, words))
    return torch.cat([input_ids, responses]), torch.cat([mask, words])
