"""Evaluate a trained dialogue model on dialogues: its bound, its responses, and beside those of others.

    hf-bnvae evaluate-dialogue --model_name_or_path out --test_file test.jsonl --word_vectors vectors.txt
    hf-bnvae evaluate-dialogue --model_name_or_path out/bn_cvae --dataset_name toy_dialogues \
        --compare_with out/cvae out/cvae_bow --samples_file samples.md
"""

from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState
from torch.utils.data import DataLoader

from ..data import DialogueCollator, DialogueSampler, LengthBucketSampler, encode_dialogues, load_tokenizer
from ..evaluation import dialogue_metrics, infer_with_use
from ..evaluation.references import reference_responses
from ..hub.run_record import write_json
from ..runs.dialogue_data_arguments import DialogueDataArguments
from ..runs.evaluation_arguments import ResponseArguments
from ..runs.loading import DIALOGUE_MODELS, check_tokenizer, load_model
from ..runs.metrics import evaluate_nll
from ..runs.responses import evaluate_sampled, load_others, write_samples
from ..runs.results import log_reports, unknown_shares
from .errors import UsageError, flags_named
from .evaluate import EvaluationArguments
from .flags import parse_arguments
from .results import print_results
from .run import run


@dataclass
class DialogueEvaluationArguments(EvaluationArguments):
    """What is judged."""

    samples_file: str | None = field(
        default=None, metadata={"help": "write contexts with responses here, as Markdown (--num_cases)"}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.samples_file is not None and Path(self.samples_file).is_dir():
            raise UsageError(f"--samples_file {self.samples_file} is a folder: name a file")


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data, wanted = parse_arguments(
        DialogueEvaluationArguments,
        DialogueDataArguments,
        ResponseArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if wanted.compare_with and args.samples_file is None:
        raise UsageError("--compare_with shows other models in --samples_file: name one")
    vectors = wanted.load_word_vectors()
    model = load_model(args.model_name_or_path, models=DIALOGUE_MODELS).to(PartialState().device)
    tokenizer = load_tokenizer(args.model_name_or_path, "--model_name_or_path")
    check_tokenizer(model, tokenizer, f"--model_name_or_path {args.model_name_or_path}")
    ours = Path(args.model_name_or_path).resolve().name
    others = load_others(wanted.compare_with, ours)
    corpus = data.load()
    if args.split not in corpus.splits:
        raise UsageError(f"{corpus.name} has no {args.split} split: pass --{args.split}_file or another --split")
    config = model.config
    rows = encode_dialogues(corpus, tokenizer, data.max_utterance_length, config.context_turns, config.topics)[
        args.split
    ]
    log_reports({args.split: corpus.reports[args.split]})
    collate = DialogueCollator(tokenizer.pad_token_id)

    def batches(part):
        sampler = DialogueSampler(part.dialogues, args.batch_size, shuffle=False)
        return DataLoader(part, batch_sampler=sampler, collate_fn=collate)

    def by_length(part):
        sampler = LengthBucketSampler(part.lengths, args.batch_size, shuffle=False)
        return DataLoader(part, batch_sampler=sampler, collate_fn=collate)

    results = dialogue_metrics(infer_with_use(model, batches(rows), args.seed)[0]) | {"sentences": len(rows)}
    results |= evaluate_nll(model, rows, by_length, wanted, args.seed, progress=True)
    if wanted.num_responses:
        references = reference_responses(corpus, args.split, tokenizer)
        results |= evaluate_sampled(
            model, tokenizer, rows, batches, references, wanted, vectors, args.seed, progress=True
        )
    prefix = "eval" if args.split == "validation" else args.split
    report = {args.split: corpus.reports[args.split]}
    results = {f"{prefix}_{name}": value for name, value in results.items()} | unknown_shares(report)
    print_results(results)
    if args.output_file is not None:
        write_json(Path(args.output_file), results)
    if args.samples_file is not None:
        models = {ours: (model, tokenizer), **others}
        Path(args.samples_file).parent.mkdir(parents=True, exist_ok=True)
        write_samples(Path(args.samples_file), corpus, args.split, models, data, wanted, args.seed)


if __name__ == "__main__":
    run(main)
