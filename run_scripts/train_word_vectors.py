"""Train the word vectors that judge responses (A-bow, E-bow) on the training split of dialogues.

    python run_scripts/train_word_vectors.py --dataset_name toy_dialogues --output_file vectors.txt
    python run_scripts/run_dialogue.py --dataset_name toy_dialogues --word_vectors vectors.txt --output_dir out

The vectors are skip-gram word2vec by gensim, in word2vec text. The same flags give the same file.
"""

from hf_bnvae.cli.run import run
from hf_bnvae.cli.vectors import main

if __name__ == "__main__":
    run(main)
