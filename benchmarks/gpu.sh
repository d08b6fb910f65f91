#!/usr/bin/env bash
# What docs/performance.md says of a GPU, in under nine minutes: the trainings of Penn Treebank and short Yelp side by
# side, fp32 against bf16, throughput, NLL, a Yahoo-sized training and memory. Tables and the trainings' results go to
# $OUT_DIR; copy *.txt to docs/results/gpu/ and results/* to docs/results/ to keep them. No network is used.
#
#   BNVAE_DATA=/path/to/data benchmarks/gpu.sh
#   benchmarks/gpu.sh compile growth pretrained graphs   (these stages; the ones named here, at most two minutes each)
#   DEVICE=cpu SMOKE=1 OUT_DIR=/tmp/gpu benchmarks/gpu.sh    (the same at tiny sizes, to test it)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
data=${BNVAE_DATA:-../shared/data}
device=${DEVICE:-cuda}
smoke=${SMOKE:-}
out=${OUT_DIR:-runs/gpu}
budget=${BUDGET:-525}
paper_epochs=${PAPER_EPOCHS:-10}
nll_sentences=${NLL_SENTENCES:-2000}
usual=(trainings throughput nll convergence memory)
all=("${usual[@]}" compile growth pretrained graphs)
stages=("${@:-${usual[@]}}")
large=(--sizes "yahoo 512/1024/32")
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" BNVAE_DATA="$data" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

for stage in "${stages[@]}"; do
    [[ " ${all[*]} " == *" $stage "* ]] || { echo "unknown stage $stage; there are: ${all[*]}" >&2; exit 2; }
done
missing=$("$python" -c '
from importlib.util import find_spec
needed = "torch transformers accelerate datasets evaluate huggingface_hub jinja2 numpy sacrebleu safetensors tokenizers"
print(" ".join(name for name in (needed + " tqdm yaml").split() if find_spec(name) is None))')
if [[ -n $missing ]]; then
    echo "$python lacks ${missing// /, }: install them first, for example by 'pip install -e .' in this folder." >&2
    exit 1
fi
if [[ $device == cuda ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "no GPU is found: DEVICE=cpu SMOKE=1 tries everything at tiny sizes on a CPU." >&2
    exit 1
fi
mkdir -p "$out/models"

wanted() { [[ " ${stages[*]} " == *" $1 "* ]]; }

# A number of seconds, or what is left of the budget if that is less.
within() {
    local left=$((budget - SECONDS))
    echo $((left < 1 ? 1 : left < $1 ? left : $1))
}

# name, seconds at most, script, flags: the table goes to the screen and to NAME.txt, under its command.
benchmark() {
    local name=$1 limit=$2 status=0
    [[ -z $smoke ]] || limit=200
    limit=$(within "$limit")
    shift 2
    echo "== $name (at most $limit s; $SECONDS s so far)"
    { printf '$ python'; printf ' %q' "$@"; printf '\n'; } > "$out/$name.txt"
    timeout "$limit" "$python" "$@" --device "$device" --json_file "$out/$name.json" 2> "$out/$name.log" |
        tee -a "$out/$name.txt" || status=$?
    ((status == 0)) || echo "$name did not end: status $status, see $out/$name.log" | tee -a "$out/$name.txt"
}

# corpus, method, recipe, flags: one training in the background.
training() {
    local name=$1-$2-$3
    local flags=(--size "$1" --method "$2" --recipe "$3" --dataset_name "$data/$1" "${@:4}" "${common[@]}")
    if [[ ! -d $data/$1 ]]; then
        echo "$name: $data/$1 is not there, left out (set BNVAE_DATA)"
        return
    fi
    rm -rf "$out/models/$name"
    OMP_NUM_THREADS=1 timeout "$(within 340)" "$python" run_scripts/run_lm.py "${flags[@]}" \
        --output_dir "$out/models/$name" > "$out/models/$name.log" 2>&1 &
}

sweep=(--steps 10)
fewer=(--steps 20 --batch_sizes 32 256 --precisions bf16)
graphs=(--precisions bf16)
samples=()
cells=(--batch_sizes 32 1024 --lengths 80 --vocab_sizes 20000 --num_samples 500 --embedding_size 512 --hidden_size 1024)
yahoo=(--steps 30 --batch_size "${YAHOO_BATCH:-512}")
growth=()
pretrained=()
[[ ! -d build/pretrained/smollm2 ]] || pretrained=(--decoder build/pretrained/smollm2)
common=(--seed 1 --disable_tqdm true --per_device_eval_batch_size 512 --max_nll_samples "$nll_sentences")
precision=()
[[ $device == cpu ]] && common+=(--use_cpu true) || common+=(--bf16 true --nll_bf16 true)
if [[ -n $smoke ]]; then
    large=(--sizes "ptb 256/256/32")
    sweep=(--steps 1 --batch_sizes 2 4 "${large[@]}")
    fewer=(--steps 1 --batch_sizes 2)
    samples=(--num_samples 4 --repeats 1 "${large[@]}")
    cells=(--batch_sizes 2 --lengths 4 --vocab_sizes 50 --num_samples 3 --embedding_size 8 --hidden_size 8)
    yahoo=(--steps 2 --batch_size 4 --share 0.02)
    growth=(--quick)
    graphs=(--steps 4 --batch_sizes 4 --share 0.02)
    pretrained=(--steps 1 --lengths 4 --prompts 0 --batch_size 2)
    paper_epochs=1
    tiny=(--max_train_samples 64 --max_eval_samples 8 --nll_samples 3 --hidden_size 8 --embedding_size 8 --latent_size 4
        --kl_annealing_epochs 0.5)
    common+=("${tiny[@]}" --num_train_epochs 1)
    precision=(--dataset_name pydocs "${tiny[@]}" --num_train_epochs 1)
fi

if wanted trainings; then
    echo "== trainings, side by side (at most $(within 340) s; $SECONDS s so far)"
    for corpus in ptb short_yelp; do
        for method in bn_vae vae lstm_lm; do training "$corpus" "$method" fast; done
    done
    for method in bn_vae vae lstm_lm; do
        training ptb "$method" paper --num_train_epochs "$paper_epochs" --kl_annealing_epochs 4 --plateau_patience 2 \
            --plateau_start_epoch 6
    done
    OMP_NUM_THREADS=1 timeout "$(within 340)" "$python" benchmarks/precision.py "${precision[@]}" \
        --json_file "$out/precision.json" > "$out/precision.txt" 2> "$out/precision.log" &
    wait
    cat "$out/precision.txt"
fi
if wanted throughput; then benchmark throughput 110 benchmarks/train_throughput.py "${sweep[@]}"; fi
if wanted nll; then benchmark nll 60 benchmarks/nll_throughput.py "${samples[@]}"; fi
if wanted convergence; then benchmark convergence 40 benchmarks/convergence.py "${yahoo[@]}"; fi
if wanted memory; then benchmark memory 40 benchmarks/memory.py "${cells[@]}"; fi
if wanted compile; then benchmark compile 120 benchmarks/train_throughput.py "${large[@]}" "${fewer[@]}" --compile; fi
if wanted growth; then benchmark growth 120 benchmarks/growth.py "${growth[@]}"; fi
if wanted graphs; then benchmark graphs 110 benchmarks/step_graphs.py "${graphs[@]}"; fi
if wanted pretrained; then benchmark pretrained 60 benchmarks/pretrained_cost.py "${pretrained[@]}"; fi
echo "== summary ($SECONDS s)"
"$python" benchmarks/gpu_summary.py "$out" | tee "$out/summary.txt"
