"""Evaluate a trained text VAE on sentences: ELBO, KL, mutual information, active units, use of the latent, NLL, texts.

hf-bnvae evaluate --model_name_or_path out --test_file test.txt
hf-bnvae evaluate --model_name_or_path out --test_file test.txt --scores_file scores.csv
hf-bnvae evaluate --model_name_or_path out --test_file test.txt --language_model lm
hf-bnvae evaluate --model_name_or_path out --test_file test.txt --test_embeddings_file test.npy
accelerate launch -m hf_bnvae.cli.evaluate --model_name_or_path out --dataset_name pydocs --nll_samples 100

`--scores_file` (csv or jsonl, by its ending) has a row for each sentence, in their order: `tokens` with the end symbol,
and in nats `nll` (the bound, where it was computed), `rec`, `kl`, `elbo` = rec + kl, and `use` = rec with another
sentence's latent less rec: how much the decoder takes from the latent; then the `text`. Several processes share out the
sentences, and give the numbers of one.
"""

from pathlib import Path

from accelerate import PartialState

from ..hub.run_record import write_json
from ..runs.data_arguments import EmbeddedDataArguments
from ..runs.evaluation_arguments import EvaluationArguments, TextMetricArguments
from ..runs.text_evaluation import evaluate_text_model, write_scores
from .errors import flags_named
from .flags import parse_arguments
from .results import print_results
from .run import run


@flags_named()
def main(argv: list[str] | None = None) -> None:
    args, data, wanted = parse_arguments(
        EvaluationArguments, EmbeddedDataArguments, TextMetricArguments, description=__doc__.splitlines()[0], argv=argv
    )
    results, scores = evaluate_text_model(args, data, wanted)
    if PartialState().is_main_process:
        print_results(results)
        if args.output_file is not None:
            write_json(Path(args.output_file), results)
        if scores is not None:
            write_scores(scores, Path(args.scores_file))


if __name__ == "__main__":
    run(main)
