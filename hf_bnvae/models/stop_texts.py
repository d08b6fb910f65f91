"""Stop strings for tokens that are no pieces of the text."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria


class StopTexts(StoppingCriteria):
    """Ends a text when it holds one of some strings, whatever the tokenizer.

    Transformers' own `stop_strings` wants tokens that are pieces of the text, which words between spaces are not.

    Args:
        tokenizer: what writes the text of token ids.
        strings: one of them, or several.
        prompt_length: so many tokens in front are not searched.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: str | Sequence[str], prompt_length: int = 0):
        self.tokenizer = tokenizer
        self.strings = [strings] if isinstance(strings, str) else list(strings)
        self.prompt_length = prompt_length

    def __call__(self, input_ids, scores, **kwargs):
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :], skip_special_tokens=True)
        ended = [any(string in text for string in self.strings) for text in texts]
        return torch.tensor(ended, device=input_ids.device)
