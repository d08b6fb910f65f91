"""From dialogues to batches in which every utterance stands once."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from ..models.objectives import IGNORED
from .batches import EpochSampler, padded
from .dialogues import DialogueCorpus
from .encoded_texts import encode_counted
from .tokenizers import check_ends


class DialogueResponses(Dataset):
    """The responses of a split, each with the turns before it. Utterances are encoded once and shared.

    Args:
        utterances: token ids of all turns of the split, ends included.
        speakers: who says each, as a number.
        starts: where in `utterances` the dialogue of each begins.
        topic_ids: the topic of each; 0 for none that is known.
        responses: which utterances are responses, in their order.
        context_turns: turns before a response that are its context, at most.
    """

    def __init__(
        self,
        utterances: list[list[int]],
        speakers: list[int],
        starts: list[int],
        topic_ids: list[int],
        responses: list[int],
        context_turns: int,
    ):
        self.utterances = utterances
        self.speakers = speakers
        self.starts = starts
        self.topic_ids = topic_ids
        self.responses = responses
        self.context_turns = context_turns

    def __len__(self) -> int:
        return len(self.responses)

    def __getitem__(self, index: int) -> dict:
        last = self.responses[index]
        first = max(self.starts[last], last - self.context_turns)
        return {
            "first": first,
            "utterances": self.utterances[first : last + 1],
            "own_turns": [int(speaker == self.speakers[last]) for speaker in self.speakers[first:last]],
            "topic_id": self.topic_ids[last],
        }

    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        return [self[index] for index in indices]

    def select(self, indices: Sequence[int]) -> "DialogueResponses":
        """Some of the responses; the utterances are shared."""
        chosen = copy.copy(self)
        chosen.responses = [self.responses[index] for index in indices]
        return chosen

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response, ends included."""
        return [len(self.utterances[response]) for response in self.responses]

    @property
    def dialogues(self) -> list[int]:
        """A number for the dialogue of each response."""
        return [self.starts[response] for response in self.responses]


def encode_dialogues(
    corpus: DialogueCorpus,
    tokenizer: PreTrainedTokenizerBase,
    max_utterance_length: int,
    context_turns: int,
    topics: Sequence[str] = (),
) -> dict[str, DialogueResponses]:
    """Token ids of every turn; longer ones are cut to `max_utterance_length` tokens, ends included.

    The corpus's reports then also count what was cut, and the tokens kept.

    Raises:
        CorpusError: for a tokenizer that puts no ends around a text.
    """
    check_ends(tokenizer)
    numbers = {topic: number for number, topic in enumerate(topics, start=1)}
    encoded = {}
    for split, dialogues in corpus.splits.items():
        texts = [turn.text for dialogue in dialogues for turn in dialogue.turns]
        counted = encode_counted(texts, tokenizer, max_utterance_length)
        rows = DialogueResponses(counted.input_ids, [], [], [], [], context_turns)
        report = corpus.reports[split]
        report.truncated_turns = sum(counted.truncated)
        report.unknown, report.symbols = sum(counted.unknown), sum(counted.symbols)
        report.words = sum(map(len, counted.input_ids)) - 2 * len(texts)
        report.truncated_contexts = report.unseen_topics = 0
        for dialogue in dialogues:
            start, turns = len(rows.speakers), len(dialogue.turns)
            names: dict[str, int] = {}
            rows.speakers += [names.setdefault(turn.speaker, len(names)) for turn in dialogue.turns]
            rows.starts += [start] * turns
            topic = numbers.get(dialogue.topic or "", 0)
            rows.topic_ids += [topic] * turns
            report.unseen_topics += bool(numbers and dialogue.topic and not topic)
            rows.responses += range(start + dialogue.first_response, start + turns)
            report.truncated_contexts += max(0, turns - max(dialogue.first_response, context_turns + 1))
        report.tokens = sum(rows.lengths) - len(rows)
        encoded[split] = rows
    return encoded


@dataclass
class DialogueCollator:
    """Makes the second form of batch that `BnCvaeModel` reads: each utterance once, contexts and responses by number.

    `labels` `(batch, length)` are the words of the responses to predict with the end symbol, −100 on padding.
    """

    pad_token_id: int

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        indices: dict[int, int] = {}
        utterances: list[list[int]] = []
        contexts, responses = [], []
        for row in rows:
            numbers = []
            for offset, ids in enumerate(row["utterances"]):
                index = indices.setdefault(row["first"] + offset, len(utterances))
                if index == len(utterances):
                    utterances.append(ids)
                numbers.append(index)
            responses.append(numbers.pop())
            contexts.append(numbers)
        input_ids, attention_mask = padded(utterances, self.pad_token_id)
        labels, _ = padded([row["utterances"][-1][1:] for row in rows], IGNORED)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "context_index": padded(contexts, -1)[0],
            "own_turns": padded([row["own_turns"] for row in rows], 0)[0],
            "topic_ids": torch.tensor([row["topic_id"] for row in rows]),
            "response_index": torch.tensor(responses),
            "labels": labels,
        }


class DialogueSampler(EpochSampler):
    """Batches made of runs of consecutive responses of one dialogue, so that what they share is encoded once.

    Each response comes once an epoch; without shuffling they come in the order of the corpus.

    Args:
        dialogues: a number for the dialogue of each response; responses of one dialogue stand together, in order.
        run_length: consecutive responses that stay together, at most; where they are cut moves from epoch to epoch.
        batch_size, seed, shuffle, num_processes, process_index: see `EpochSampler`.
    """

    def __init__(
        self,
        dialogues: list[int],
        batch_size: int,
        run_length: int = 8,
        seed: int = 0,
        shuffle: bool = True,
        num_processes: int = 1,
        process_index: int = 0,
    ):
        if not dialogues:
            raise ValueError("no responses to make batches of")
        if len(dialogues) < num_processes:
            raise ValueError(
                f"a split of {len(dialogues)} responses cannot be shared out to {num_processes} processes: give one of "
                "more, or fewer processes"
            )
        super().__init__(batch_size, seed, shuffle, num_processes, process_index)
        self.dialogues = dialogues
        self.run_length = run_length

    def __len__(self) -> int:
        return len(self._cut(list(range(len(self.dialogues)))))

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self.dialogues)))
        if self.shuffle:
            order = [index for run in self.runs(self._generator()) for index in run]
        for batch in self._cut(order):
            share = -(-len(batch) // self.num_processes)
            if share * (self.num_processes - 1) < len(batch):
                yield batch[self.process_index * share : (self.process_index + 1) * share]
            else:
                yield batch[self.process_index :: self.num_processes]

    def runs(self, generator: random.Random) -> list[range]:
        """All responses in runs, shuffled."""
        runs = []
        ends = [index for index in range(1, len(self.dialogues)) if self.dialogues[index] != self.dialogues[index - 1]]
        for first, last in zip([0, *ends], [*ends, len(self.dialogues)], strict=True):
            start = first
            length = generator.randint(1, self.run_length)
            while start < last:
                runs.append(range(start, min(last, start + length)))
                start += length
                length = self.run_length
        generator.shuffle(runs)
        return runs
