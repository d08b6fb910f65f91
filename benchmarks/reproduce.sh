#!/usr/bin/env bash
# Trains and judges the models whose results stand in docs/results/. Data: $BNVAE_DATA, with ptb/ and short_yelp/
# (the first 40,000 / 2,000 / 2,000 lines of short Yelp are cut out first).
#
#   BNVAE_DATA=/path/to/data benchmarks/reproduce.sh short_yelp_bn_vae_fast
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=${BNVAE_DATA:-../shared/data}
epochs=${PAPER_EPOCHS:-15}
sentences=${NLL_SENTENCES:-500}
run=${1:?name a run: short_yelp_bn_vae_fast, ptb_bn_vae_fast, ptb_bn_vae_paper, ptb_vae_paper}
shift
if [[ $run == short_yelp_* ]]; then
    mkdir -p runs/short_yelp_40k
    for part in train:40000 valid:2000 test:2000; do
        head -n "${part#*:}" "$data/short_yelp/${part%:*}.tsv" > "runs/short_yelp_40k/${part%:*}.tsv"
    done
fi
paper=(--recipe paper --size ptb --dataset_name "$data/ptb" --num_train_epochs "$epochs" --kl_annealing_epochs 4
    --plateau_patience 2 --plateau_start_epoch 6 --bf16 true --max_nll_samples "$sentences")
case $run in
    short_yelp_bn_vae_fast)
        flags=(--method bn_vae --recipe fast --size short_yelp --hidden_size 256 --dataset_name runs/short_yelp_40k) ;;
    ptb_bn_vae_fast)
        flags=(--method bn_vae --recipe fast --size ptb --dataset_name "$data/ptb" --num_train_epochs 5
            --kl_annealing_epochs 2 --embedding_dropout 0.25 --output_dropout 0.25 --weight_decay 0.03
            --max_nll_samples "$sentences") ;;
    ptb_bn_vae_paper) flags=(--method bn_vae "${paper[@]}") ;;
    ptb_vae_paper) flags=(--method vae "${paper[@]}") ;;
    *) echo "unknown run $run" >&2; exit 2 ;;
esac
exec "$python" run_scripts/run_lm.py "${flags[@]}" --seed 1 --output_dir "runs/$run" "$@"
