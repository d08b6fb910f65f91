"""One loop over texts: they go through a model in batches of near-equal length, and results return in their order."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from tqdm.auto import tqdm
from transformers.utils import logging

from ..data.batches import LengthBucketSampler, VaeCollator

BAR_AFTER_SECONDS = 1.0


class TextBatches:
    """Padded batches of texts of near-equal length, in an order that saves time. They can be read more than once.

    Args:
        rows: token ids of each text; at least one text.
        batch_size: texts in a batch.
        pad_token_id: what fills up shorter texts.
        labels: token ids of what is written of each text, where that is of another tokenizer.
    """

    def __init__(
        self,
        rows: Sequence[list[int]],
        batch_size: int,
        pad_token_id: int | None,
        labels: Sequence[list[int]] | None = None,
    ):
        self.columns = {"input_ids": rows} | ({} if labels is None else {"labels": labels})
        self.indices = list(LengthBucketSampler([len(ids) for ids in rows], batch_size, shuffle=False))
        """The indices of the texts of each batch."""
        self._collate = VaeCollator(pad_token_id or 0)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for indices in self.indices:
            yield self._collate([{name: rows[index] for name, rows in self.columns.items()} for index in indices])

    @property
    def original_order(self) -> torch.Tensor:
        """Which row of the results of all batches is that of each text, `(texts,)`."""
        return torch.tensor([index for indices in self.indices for index in indices]).argsort()


def encode_in_order(
    rows: Sequence[list[int]],
    encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batch_size: int,
    pad_token_id: int | None = 0,
    device: str | torch.device = "cpu",
    description: str = "Encoding",
) -> torch.Tensor:
    """One vector a text, `(texts, width)`, fp32 on the CPU, in the order of the texts.

    Args:
        rows: token ids of each text; at least one text.
        encode: from `input_ids` and `attention_mask`, `(batch, length)` each on `device`, to vectors `(batch, width)`.
        batch_size: texts in a batch.
        pad_token_id: what fills up shorter texts.
        device: of the model.
        description: of the progress bar.
    """
    batches = TextBatches(rows, batch_size, pad_token_id)
    return torch.cat(list(encoded_batches(batches, encode, device, description)))[batches.original_order]


@torch.no_grad()
def encoded_batches(
    batches: TextBatches,
    encode: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    device: str | torch.device,
    description: str,
) -> Iterator[torch.Tensor]:
    """The vectors of each batch, see `encode_in_order`."""
    for batch in progress_bar(batches, description):
        yield encode(batch["input_ids"].to(device), batch["attention_mask"].to(device)).float().cpu()


def progress_bar(items: Iterable, description: str):
    """The same items, with a progress bar after a second, unless Transformers' progress bars are disabled."""
    return tqdm(items, desc=description, delay=BAR_AFTER_SECONDS, disable=not logging.is_progress_bar_enabled())
