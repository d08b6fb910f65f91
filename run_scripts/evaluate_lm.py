"""Evaluate a trained text VAE on sentences: ELBO, KL, mutual information, active units, use of the latent, NLL, texts.

python run_scripts/evaluate_lm.py --model_name_or_path out --test_file test.txt
python run_scripts/evaluate_lm.py --model_name_or_path out --test_file test.txt --scores_file scores.csv
python run_scripts/evaluate_lm.py --model_name_or_path out --test_file test.txt --language_model lm
accelerate launch run_scripts/evaluate_lm.py --model_name_or_path out --dataset_name pydocs --nll_samples 100

`--scores_file` (csv or jsonl, by its ending) has a row for each sentence, in their order: `tokens` with the end symbol,
and in nats `nll` (the bound, where it was computed), `rec`, `kl`, `elbo` = rec + kl, and `use` = rec with another
sentence's latent less rec: how much the decoder takes from the latent; then the `text`. Several processes share out the
sentences, and give the numbers of one.
"""

from hf_bnvae.cli.evaluate import main
from hf_bnvae.cli.run import run

if __name__ == "__main__":
    run(main)
