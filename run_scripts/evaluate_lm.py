"""Judge a trained text VAE on sentences: ELBO, KL, mutual information, active units, NLL, perplexity.

python run_scripts/evaluate_lm.py --model_name_or_path out --test_file test.txt
python run_scripts/evaluate_lm.py --model_name_or_path out --dataset_name pydocs --nll_samples 100
"""

from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState
from script_utils import (
    DataArguments,
    JudgeArguments,
    UsageError,
    check_least,
    judge_nll,
    load_model,
    parse_arguments,
    print_results,
    run_main,
    write_json,
)
from torch.utils.data import DataLoader

from hf_bnvae.data import LengthBucketSampler, VaeCollator, encode_corpus, load_tokenizer
from hf_bnvae.evaluation import elbo_metrics, infer


@dataclass
class EvaluationArguments:
    """What is judged."""

    model_name_or_path: str = field(metadata={"help": "folder of a checkpoint, or its Hub id"})
    split: str = field(
        default="test", metadata={"help": "the split to judge", "choices": ["train", "validation", "test"]}
    )
    batch_size: int = field(default=128, metadata={"help": "sentences in a batch"})
    seed: int = field(default=42, metadata={"help": "of the latent noise, which is keyed by sentence"})
    output_file: str | None = field(default=None, metadata={"help": "write the results here as JSON"})

    def __post_init__(self):
        check_least(self, batch_size=1)


def main(argv: list[str] | None = None) -> None:
    args, data, judge = parse_arguments(
        EvaluationArguments, DataArguments, JudgeArguments, description=__doc__.splitlines()[0], argv=argv
    )
    model = load_model(args.model_name_or_path).to(PartialState().device)
    tokenizer = load_tokenizer(args.model_name_or_path)
    corpus = data.load()
    if args.split not in corpus.splits:
        raise UsageError(f"{corpus.name} has no {args.split} split: pass --{args.split}_file or another --split")
    dataset = encode_corpus(corpus, tokenizer, data.max_length)[args.split]
    print(f"{args.split}: {corpus.reports[args.split]}")

    def batches(part):
        sampler = LengthBucketSampler(part["length"][:], args.batch_size, shuffle=False)
        return DataLoader(part, batch_sampler=sampler, collate_fn=VaeCollator(tokenizer.pad_token_id))

    results = elbo_metrics(infer(model, batches(dataset), seed=args.seed))
    results |= {"sentences": len(dataset)}
    results |= judge_nll(model, dataset, batches, judge, args.seed, progress=True)
    prefix = "eval" if args.split == "validation" else args.split
    results = {f"{prefix}_{name}": value for name, value in results.items()}
    print_results(results)
    if args.output_file is not None:
        write_json(Path(args.output_file), results)


if __name__ == "__main__":
    run_main(main)
