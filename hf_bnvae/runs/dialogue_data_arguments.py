"""Arguments that say where dialogues come from."""

from dataclasses import dataclass, field, fields
from typing import Any

from ..data import DialogueCorpus, load_dialogues
from ..data.dialogue_formats import DEFAULT_TURN_SEPARATOR, DialogueLayout
from ..data.tokenizers import length_limit
from ..errors import ParameterError
from .checks import check_least
from .data_arguments import SplitArguments

DEFAULT_UTTERANCE_LENGTH = 42


@dataclass
class DialogueDataArguments(SplitArguments):
    """Where the dialogues come from."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "'toy_dialogues' (built in), a local folder with train/valid/test files, or a Hub dataset id"
        },
    )
    train_file: str | None = field(
        default=None, metadata={"help": "jsonl, json or txt of dialogues, or a table of pairs"}
    )
    validation_file: str | None = field(default=None, metadata={"help": "the same"})
    test_file: str | None = field(default=None, metadata={"help": "the same"})
    context_column: str = field(default="context", metadata={"help": "of a table: the turns before the response"})
    response_column: str = field(default="response", metadata={"help": "of a table: the response"})
    turn_separator: str = field(
        default=DEFAULT_TURN_SEPARATOR, metadata={"help": "of a table: what stands between the turns of a context"}
    )
    conversation_column: str | None = field(
        default=None, metadata={"help": "of a table of one utterance a row: the id of the conversation"}
    )
    utterance_column: str | None = field(default=None, metadata={"help": "of such a table: what is said"})
    speaker_column: str | None = field(default=None, metadata={"help": "of such a table: who says it"})
    no_header: bool = field(
        default=False, metadata={"help": "the first line of csv and tsv files is data; columns have numbers from 0"}
    )
    skip_empty_turns: bool = field(
        default=False, metadata={"help": "leave out and count turns that hold nothing, which are errors otherwise"}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "use only the first so many dialogues"})
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "use only the first so many dialogues of each of validation and test"}
    )
    max_utterance_length: int | None = field(
        default=None,
        metadata={
            "help": "cut utterances at so many tokens, both ends counted: by default 42 in a training, and afterwards "
            "as in that of the model"
        },
    )

    def __post_init__(self):
        if not self.turn_separator:
            raise ParameterError("`turn_separator` is empty: give what stands between two turns, or leave it out")
        check_least(self, max_utterance_length=3, max_train_samples=1, max_eval_samples=1)

    def utterance_length(self, tokenizer: Any = None) -> int:
        """At how many tokens utterances are cut for a trained model with this tokenizer, or in a training."""
        remembered = None if tokenizer is None else length_limit(tokenizer)
        return self.max_utterance_length or remembered or DEFAULT_UTTERANCE_LENGTH

    def load(self, dialogues: Any = None) -> DialogueCorpus:
        """Read the dialogues that the arguments name, or `dialogues` in a shape that `load_dialogues` takes."""
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        limits = {"train": self.max_train_samples, "validation": self.max_eval_samples, "test": self.max_eval_samples}
        names = [item.name for item in fields(DialogueLayout)]
        return load_dialogues(
            self.dataset_name if dialogues is None else dialogues,
            files,
            max_dialogues=limits,
            **{name: getattr(self, name) for name in names},
            **self.split_choice(),
        )
