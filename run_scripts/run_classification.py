"""Evaluate encoders by a linear classifier on their vectors, trained on few labels and on many (the paper's Table 3).

    python run_scripts/run_classification.py --model_name_or_path out --train_file train.tsv --test_file test.tsv \
        --label_column label --num_labels_list 100,500,1000,2000,10000 --output_dir out_classification
    python run_scripts/run_classification.py --model_name_or_path runs/comparison/runs/*/seed_1 NAME=MODEL \
        --dataset_name my_folder --output_dir table

A model is a folder or a Hub id, with NAME= before it where the folder does not name its row: a text VAE, whose vector
of a sentence is the posterior mean, a model of sentence-transformers, or any other encoder, whose states are averaged
over the sentence. With --finetune true the encoders of text VAEs are trained along with the classifier.
"""

from hf_bnvae.cli.classify import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
