#!/usr/bin/env bash
# Trains and judges the models whose results stand in docs/results/. Data: $BNVAE_DATA, with ptb/, switchboard/ and
# short_yelp/ (the first 40,000 / 2,000 / 2,000 lines of short Yelp are cut out first).
#
#   BNVAE_DATA=/path/to/data benchmarks/reproduce.sh short_yelp_bn_vae_fast
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=${BNVAE_DATA:-../shared/data}
epochs=${PAPER_EPOCHS:-15}
sentences=${NLL_SENTENCES:-500}
run=${1:?name a run: short_yelp_bn_vae_fast, short_yelp_methods, short_yelp_methods_10k, short_yelp_table3,
    ptb_bn_vae_fast, ptb_bn_vae_paper, ptb_vae_paper, switchboard_cvae, switchboard_cvae_bow, switchboard_bn_cvae,
    switchboard_gamma}
shift
cut_short_yelp() {
    mkdir -p "runs/short_yelp_$1"
    for part in "train:$2" valid:2000 test:2000; do
        head -n "${part#*:}" "$data/short_yelp/${part%:*}.tsv" > "runs/short_yelp_$1/${part%:*}.tsv"
    done
}
compare_methods() {
    "$python" run_scripts/compare.py --methods "$2" --output_dir "runs/comparison_$1" \
        --dataset_name "runs/short_yelp_$1" --size short_yelp --hidden_size 256 --recipe fast "${@:3}"
}
judge() {
    "$python" run_scripts/run_classification.py --model_name_or_path runs/comparison_25k/runs/*/seed_1 \
        --train_file runs/short_yelp_25k/train.tsv --test_file "$data/short_yelp/test.tsv" \
        --output_dir "runs/$run/$1" "${@:2}"
}
if [[ $run == *_10k ]]; then
    cut_short_yelp 10k 10000
elif [[ $run == *_table3 ]]; then
    cut_short_yelp 25k 25000
elif [[ $run == short_yelp_* ]]; then
    cut_short_yelp 40k 40000
fi
vectors=runs/switchboard_vectors.txt
if [[ $run == switchboard_* && ! -f $vectors ]]; then
    "$python" run_scripts/train_word_vectors.py --dataset_name "$data/switchboard" --output_file "$vectors"
fi
dialogue() {
    "$python" run_scripts/run_dialogue.py --recipe fast --size switchboard_half --dataset_name "$data/switchboard" \
        --word_vectors "$vectors" --seed 1 "$@"
}
long=(--num_train_epochs 3 --kl_annealing_epochs 0.75)
paper=(--recipe paper --size ptb --dataset_name "$data/ptb" --num_train_epochs "$epochs" --kl_annealing_epochs 4
    --plateau_patience 2 --plateau_start_epoch 6 --bf16 true --max_nll_samples "$sentences")
case $run in
    short_yelp_bn_vae_fast)
        flags=(--method bn_vae --recipe fast --size short_yelp --hidden_size 256 --dataset_name runs/short_yelp_40k) ;;
    short_yelp_methods) compare_methods 40k "lstm_lm,vae,beta_vae,cyclic_vae:kl_annealing_epochs=2,skip_vae,cnn_vae,\
fb_vae,fb_vae:free_bits_mode=sum,delta_vae,vmf_vae,bn_vae,bn_vae_learned,du_vae,ae,ae+vae,ae+fb_vae,ae+bn_vae" \
            --max_nll_samples 500
        exit ;;
    short_yelp_methods_10k)
        compare_methods 10k "vae,agg_vae,sa_vae:refinement_steps=10" --max_nll_samples 500
        exit ;;
    short_yelp_table3)
        compare_methods 25k "ae,vae,delta_vae,cyclic_vae:kl_annealing_epochs=2,fb_vae:free_bits=9,agg_vae,\
ae+fb_vae:free_bits=6,bn_vae" --nll_samples 0
        judge standardised "$@"
        judge not_standardised --standardise false "$@"
        judge finetuned --finetune true --num_train_epochs 5 --seeds 1,2 --num_labels_list 100,500,10000 "$@"
        exit ;;
    ptb_bn_vae_fast)
        flags=(--method bn_vae --recipe fast --size ptb --dataset_name "$data/ptb" --num_train_epochs 5
            --kl_annealing_epochs 2 --embedding_dropout 0.25 --output_dropout 0.25 --weight_decay 0.03
            --max_nll_samples "$sentences") ;;
    ptb_bn_vae_paper) flags=(--method bn_vae "${paper[@]}") ;;
    ptb_vae_paper) flags=(--method vae "${paper[@]}") ;;
    switchboard_gamma)
        for gamma in 0.1 0.2 0.3 0.4 0.5 0.6 0.7; do
            dialogue --method bn_cvae --gamma "$gamma" --max_train_samples 150 --num_train_epochs 2 \
                --kl_annealing_epochs 0.5 --max_response_contexts 1000 --output_dir "runs/$run/$gamma" "$@"
        done
        exit ;;
    switchboard_cvae | switchboard_cvae_bow | switchboard_bn_cvae)
        [[ $run == *bn_cvae ]] && long+=(--gamma 0.7)
        dialogue --method "${run#switchboard_}" "${long[@]}" --output_dir "runs/$run" "$@"
        exit ;;
    *) echo "unknown run $run" >&2; exit 2 ;;
esac
exec "$python" run_scripts/run_lm.py "${flags[@]}" --seed 1 --output_dir "runs/$run" "$@"
