"""Evaluate a trained dialogue model on dialogues: its bound, its responses, and those of other models with them.

    hf-bnvae evaluate-dialogue --model_name_or_path out --test_file test.jsonl --word_vectors vectors.txt
    hf-bnvae evaluate-dialogue --model_name_or_path out/bn_cvae --dataset_name toy_dialogues \
        --compare_with out/cvae out/cvae_bow --samples_file samples.md

`--scores_file` (csv or jsonl, by its ending) has a row for each response, in their order: `tokens` with the end symbol,
in nats `nll` (where it was computed), `rec`, `kl` = KL(q ‖ p), `kl_prior` = KL(p ‖ N(0, I)), `elbo` = rec + kl, and
`use`; then the `text`. Utterances are cut where the training of the model cut them, unless `--max_utterance_length`
says otherwise.
"""

from pathlib import Path

from accelerate import PartialState

from ..hub.run_record import write_json
from ..runs.dialogue_data_arguments import DialogueDataArguments
from ..runs.dialogue_evaluation import evaluate_dialogue_model
from ..runs.evaluation_arguments import DialogueEvaluationArguments, ResponseArguments
from .errors import flags_named
from .flags import parse_arguments
from .results import print_results
from .run import run


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data, wanted = parse_arguments(
        DialogueEvaluationArguments,
        DialogueDataArguments,
        ResponseArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )

    def report(results: dict) -> None:
        if not PartialState().is_main_process:
            return
        print_results(results)
        if args.output_file is not None:
            write_json(Path(args.output_file), results)

    evaluate_dialogue_model(args, data, wanted, report)


if __name__ == "__main__":
    run(main)
