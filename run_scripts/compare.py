"""Train several methods on the same data, and put them side by side: tables, a csv file, pictures.

    python run_scripts/compare.py --methods vae,bn_vae:gamma=0.6,ae+fb_vae:free_bits=4 --seeds 1,2,3 \
        --dataset_name pydocs --num_train_epochs 8 --output_dir runs/comparison

A method is NAME, NAME:FLAG=VALUE:FLAG=VALUE (a list as "VALUE VALUE"), or FIRST+THEN, where THEN starts from the
encoder of FIRST and a new decoder. Every other flag is run_lm.py's, and the same for all. What is done is not done
again: run the command once more after an interruption, or with more methods and seeds.
"""

from hf_bnvae.cli.compare import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
