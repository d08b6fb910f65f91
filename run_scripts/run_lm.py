"""Train and evaluate a text VAE on sentences.

On the built-in corpus, on your own file, and on two processes:

    python run_scripts/run_lm.py --dataset_name pydocs --output_dir out
    accelerate launch run_scripts/run_lm.py --train_file my.txt --validation_file dev.txt --output_dir out
    accelerate launch --config_file run_scripts/accelerate_configs/cpu_2_processes.yaml run_scripts/run_lm.py run.yaml

Flags may stand in a YAML file, named first; flags on the command line win.
"""

from hf_bnvae.cli.run import run
from hf_bnvae.cli.train import main

if __name__ == "__main__":
    run(main)
