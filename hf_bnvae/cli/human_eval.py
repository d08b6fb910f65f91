r"""Human evaluation of dialogue models: export blind pages for annotators, then score the files that they send back.

    hf-bnvae human-eval export --models runs/cvae runs/cvae_bow runs/bn_cvae \
        --dataset_name toy_dialogues --output_dir study
    hf-bnvae human-eval score --key study/key.json --answers answers_1.json answers_2.json

Give each annotator one page, `annotator_N.html`; it needs no network and no server. Keep `key.json` to yourself.
"""

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState

from ..analysis import Case
from ..analysis.human_evaluation import (
    AnswersError,
    make_study,
    read_answers,
    read_study,
    score,
    score_table,
    write_study,
)
from ..data import load_tokenizer
from ..runs.checks import check_least
from ..runs.dialogue_data_arguments import DialogueDataArguments
from ..runs.loading import DIALOGUE_MODELS, load_model
from ..runs.responses import responses_to
from .errors import UsageError, flags_named
from .flags import parse_arguments
from .run import run


@dataclass
class ExportArguments:
    """What is graded, and by how many annotators."""

    models: list[str] = field(metadata={"help": "folders of trained models; a folder's name names its model"})
    output_dir: str = field(metadata={"help": "where the pages and the key go"})
    split: str = field(default="test", metadata={"help": "the split to draw from", "choices": ["validation", "test"]})
    num_contexts: int = field(default=200, metadata={"help": "contexts drawn from the split"})
    num_responses: int = field(default=3, metadata={"help": "responses of each model to each context"})
    annotators: int = field(default=5, metadata={"help": "pages to write"})
    seed: int = field(default=1, metadata={"help": "of the contexts, the responses and the order"})

    def __post_init__(self):
        check_least(self, num_contexts=1, num_responses=1, annotators=1)
        names = [Path(name).resolve().name for name in self.models]
        if len(set(names)) < len(names):
            raise UsageError(f"--models: two folders have the same name ({', '.join(names)})")


@dataclass
class ScoreArguments:
    """The files of a study."""

    key: str = field(metadata={"help": "key.json of the study"})
    answers: list[str] = field(metadata={"help": "the files that the annotators downloaded"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap"})


@flags_named()
def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"export": export, "score": score_answers}
    if argv[:1] in (["--help"], ["-h"]):
        print(__doc__)
        return
    if not argv or argv[0] not in commands:
        raise UsageError(f"say what to do: {' or '.join(commands)}")
    commands[argv[0]](argv[1:])


def export(argv: list[str]) -> None:
    kinds = (ExportArguments, DialogueDataArguments)
    args, data = parse_arguments(*kinds, description="Write a page for each annotator.", argv=argv, part="export")
    folder = Path(args.output_dir)
    if (folder / "key.json").exists():
        raise UsageError(f"--output_dir {folder} already holds a study: name another folder")
    corpus = data.load()
    if args.split not in corpus.splits:
        raise UsageError(f"{corpus.name} has no {args.split} split: pass --{args.split}_file or another --split")
    replies = corpus.responses(args.split)
    if len(replies) < args.num_contexts:
        raise UsageError(f"--num_contexts {args.num_contexts}: the {args.split} split has {len(replies)} responses")
    chosen = sorted(random.Random(args.seed).sample(range(len(replies)), args.num_contexts))
    responses = {}
    longest_context = 0
    for name in args.models:
        model = load_model(name, "--models", DIALOGUE_MODELS).to(PartialState().device)
        rows = responses_to(
            model, load_tokenizer(name, "--models"), corpus, args.split, chosen, data, args.num_responses, args.seed
        )
        responses[Path(name).resolve().name] = rows
        longest_context = max(longest_context, model.config.context_turns)
    cases = [Case.of(*replies[index]).last_turns(longest_context) for index in chosen]
    pages = write_study(make_study(cases, responses, args.annotators, args.seed), folder)
    items = args.num_contexts * args.num_responses * len(args.models)
    print(
        f"{len(pages)} pages of {items} responses to {args.num_contexts} contexts are in {folder}; keep key.json back"
    )


def score_answers(argv: list[str]) -> None:
    description = "Print Table 5 from the annotators' files."
    (args,) = parse_arguments(ScoreArguments, description=description, argv=argv, part="score")
    try:
        study = read_study(Path(args.key))
        answers = read_answers(study, [Path(name) for name in args.answers])
        print(score_table(*score(study, answers, args.seed)))
    except AnswersError as error:
        raise UsageError(str(error)) from error
    print(f"\n{len(answers)} of {study.annotators} annotators, {len(study.items)} responses each.")


if __name__ == "__main__":
    run(main)
