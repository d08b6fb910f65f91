"""For the downstream user of a dialogue model: from contexts to responses, in batches."""

from collections.abc import Iterable, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from .data.dialogue_batches import DialogueCollator, encode_dialogues
from .data.dialogues import Dialogue, DialogueCorpus, DialogueReport, Turn
from .data.tokenizers import length_limit
from .evaluation.sampling import sample_responses
from .evaluation.text_order import progress_bar
from .model_with_tokenizer import ModelWithTokenizer, draws
from .models import BnCvaeConfig, BnCvaeForConditionalGeneration
from .models.modeling_common import is_kind

MAX_LENGTH = 128


class DialoguePipeline(ModelWithTokenizer):
    """A conditional VAE with its tokenizer: the last turns of a dialogue in, several responses out.

    A turn is a string, or a pair of a speaker and a string. Turns without speakers are those of two people in turn.

    Args:
        model: the whole conditional VAE, on the device and in the dtype that it is to run in.
        tokenizer: its tokenizer.
        batch_size: contexts at once.
        max_length: turns are cut at so many tokens, both ends counted. By default it is that of the training, which the
            tokenizer remembers as `model_max_length`, and 128 where it does not.

    Example:

        chat = DialoguePipeline.from_pretrained("out")
        chat.respond(["hello !", "hi , how are you ?"], num_responses=5)
    """

    MODEL = BnCvaeForConditionalGeneration
    CONFIG = BnCvaeConfig
    KIND = "a conditional VAE"

    def __init__(
        self,
        model: BnCvaeForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 128,
        max_length: int | None = None,
    ):
        if not is_kind(model, BnCvaeForConditionalGeneration):
            raise TypeError(f"DialoguePipeline needs a whole conditional VAE, got a {type(model).__name__}")
        if max_length is None:
            max_length = length_limit(tokenizer) or MAX_LENGTH
        if batch_size < 1 or max_length < 3:
            raise ValueError(f"batch_size must be at least 1 and max_length 3, got {batch_size} and {max_length}")
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = max_length

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        device: str | int | torch.device | None = None,
        batch_size: int = 128,
        max_length: int | None = None,
        **options,
    ) -> "DialoguePipeline":
        """Load a model and its tokenizer from a folder or the Hub; see `TextVaePipeline.from_pretrained`."""
        return cls.load(name, device, options, batch_size, max_length)

    def respond(
        self,
        context: Sequence[str | tuple[str, str]],
        num_responses: int = 1,
        topic: str | None = None,
        seed: int | None = 0,
        **generation_options,
    ) -> list[str]:
        """Responses to one context; see `respond_to_all`."""
        topics = None if topic is None else [topic]
        return self.respond_to_all([context], num_responses, topics, seed, **generation_options)[0]

    def respond_to_all(
        self,
        contexts: Iterable[Sequence[str | tuple[str, str]]],
        num_responses: int = 1,
        topics: Sequence[str] | None = None,
        seed: int | None = 0,
        **generation_options,
    ) -> list[list[str]]:
        """Responses to each context, each decoded (greedily by default) from a draw of p(z|x) of its own.

        The draws are keyed by the context and the seed: a response does not change with the other contexts, nor with
        the number of responses. Words that are drawn (`do_sample`) repeat by the seed too, for the same contexts and
        the same number.

        Args:
            contexts: the turns before each response, the last one last. The model reads the last
                `config.context_turns` of them.
            num_responses: to each context.
            topics: one for each context, for a model that has learnt some; an unknown one is none.
            seed: of the draws; None for others at each call.
            generation_options: of Transformers' `generate`. `stop_strings` needs no tokenizer here.

        Raises:
            TypeError: a turn is neither a string nor a pair of strings.
            ValueError: a context without turns, another number of topics than of contexts, or an option of
                `generate` that gives no texts.
        """
        turns_of_all = [_turns_of(context, f"contexts[{index}]") for index, context in enumerate(contexts)]
        if topics is not None and len(topics) != len(turns_of_all):
            raise ValueError(f"{len(topics)} topics for {len(turns_of_all)} contexts")
        if num_responses < 1:
            raise ValueError(f"num_responses must be at least 1, got {num_responses}")
        dialogues = [
            Dialogue((*turns, Turn(_answering(turns), "")), None if topics is None else topics[index], None, len(turns))
            for index, turns in enumerate(turns_of_all)
        ]
        if not dialogues:
            return []
        corpus = DialogueCorpus({"test": dialogues}, {"test": DialogueReport()})
        config = self.model.config
        rows = encode_dialogues(corpus, self.tokenizer, self.max_length, config.context_turns, config.topics)["test"]
        collate = DialogueCollator(config.pad_token_id or 0)
        starts = range(0, len(rows), self.batch_size)
        batches = [collate(rows.__getitems__(range(len(rows))[start : start + self.batch_size])) for start in starts]
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        with self.evaluating(), draws(seed):
            bar = progress_bar(batches, "Responding")
            return sample_responses(self.model, bar, self.tokenizer, num_responses, seed, **generation_options)


def _turns_of(context: Sequence[str | tuple[str, str]], where: str) -> tuple[Turn, ...]:
    """The turns of a context. Strings are the turns of two speakers who alternate; the last one is to be answered."""
    if isinstance(context, str) or not isinstance(context, Sequence):
        raise TypeError(f"{where} must be a sequence of turns, got a {type(context).__name__}")
    if not context:
        raise ValueError(f"{where} has no turns")
    turns = []
    for index, turn in enumerate(context):
        pair = (str((len(context) - index) % 2), turn) if isinstance(turn, str) else turn
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise TypeError(f"{where}[{index}] must be a string or a speaker and a string, got {turn!r}")
        turns.append(Turn(*pair))
    return tuple(turns)


def _answering(turns: Sequence[Turn]) -> str:
    """Who answers: the last one to speak before the one who spoke last, or somebody new."""
    last = turns[-1].speaker
    return next((turn.speaker for turn in reversed(turns) if turn.speaker != last), f"not {last}")
