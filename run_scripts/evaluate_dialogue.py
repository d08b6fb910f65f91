"""Evaluate a trained dialogue model on dialogues: its bound, its responses, and beside those of others.

    python run_scripts/evaluate_dialogue.py --model_name_or_path out --test_file test.jsonl --word_vectors vectors.txt
    python run_scripts/evaluate_dialogue.py --model_name_or_path out/bn_cvae --dataset_name toy_dialogues \
        --compare_with out/cvae out/cvae_bow --samples_file samples.md
"""

from hf_bnvae.cli.evaluate_dialogue import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
