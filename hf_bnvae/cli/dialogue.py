"""Train and evaluate a conditional VAE that answers in dialogues.

On the built-in small talk, on your own dialogues, and with one turn a column:

    hf-bnvae dialogue --dataset_name toy_dialogues --output_dir out
    accelerate launch -m hf_bnvae.cli.dialogue --method bn_cvae --train_file dialogues.jsonl --output_dir out
    hf-bnvae dialogue --train_file pairs.tsv --context_column context --response_column answer ...

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from ..methods import DIALOGUE_METHODS, method_table
from ..runs.card_arguments import CardArguments
from ..runs.dialogue_data_arguments import DialogueDataArguments
from ..runs.dialogue_model_arguments import DialogueModelArguments
from ..runs.dialogue_run import DialogueRun, train_dialogue_model
from ..runs.evaluation_arguments import ResponseArguments
from ..training import DialogueTrainingArguments
from .errors import flags_named
from .flags import parse_arguments
from .results import command_of, print_published, print_results
from .run import run


@flags_named()
def main(argv: list[str] | None = None) -> None:
    data, model_args, metrics, card, args = parse_arguments(
        DialogueDataArguments,
        DialogueModelArguments,
        ResponseArguments,
        CardArguments,
        DialogueTrainingArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
    )
    if model_args.list_methods:
        print(method_table(DIALOGUE_METHODS))
        return
    command = command_of("dialogue", argv, args)
    train_dialogue_model(DialogueRun(data, model_args, metrics, card, args, command, print_results, print_published))


if __name__ == "__main__":
    run(main)
