"""Train and evaluate a text VAE on sentences.

On the built-in corpus, on your own file, and on two processes:

    hf-bnvae train --dataset_name pydocs --output_dir out
    accelerate launch -m hf_bnvae.cli.train --train_file my.txt --validation_file dev.txt --output_dir out
    accelerate launch --config_file run_scripts/accelerate_configs/cpu_2_processes.yaml -m hf_bnvae.cli.train run.yaml

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from ..methods import method_table
from ..runs.card_arguments import CardArguments
from ..runs.data_arguments import TrainingDataArguments
from ..runs.evaluation_arguments import TextMetricArguments
from ..runs.model_arguments import ModelArguments
from ..runs.text_run import TextRun, train_text_model
from ..training import VaeTrainingArguments
from .errors import flags_named
from .flags import parse_arguments
from .results import command_of, print_published, print_results
from .run import run

ARGUMENTS = (TrainingDataArguments, ModelArguments, TextMetricArguments, CardArguments)
"""What a run on sentences is given, beside the arguments of its training."""


@flags_named()
def main(argv: list[str] | None = None) -> None:
    data, model_args, metrics, card, args = parse_arguments(
        *ARGUMENTS, VaeTrainingArguments, description=__doc__.splitlines()[0], argv=argv
    )
    if model_args.list_methods:
        print(method_table())
        return
    command = command_of("train", argv, args)
    train_text_model(TextRun(data, model_args, metrics, card, args, command, print_results, print_published))


if __name__ == "__main__":
    run(main)
