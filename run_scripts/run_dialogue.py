"""Train and evaluate a conditional VAE that answers in dialogues.

On the built-in small talk, on your own dialogues, and with one turn a column:

    python run_scripts/run_dialogue.py --dataset_name toy_dialogues --output_dir out
    accelerate launch run_scripts/run_dialogue.py --method bn_cvae --train_file dialogues.jsonl --output_dir out
    python run_scripts/run_dialogue.py --train_file pairs.tsv --context_column context --response_column answer ...

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from hf_bnvae.cli.dialogue import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
