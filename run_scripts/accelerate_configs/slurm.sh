#!/usr/bin/env bash
# Two machines of four GPUs each under SLURM, one launcher a machine; the flags are those of run_lm.py:
#   sbatch run_scripts/accelerate_configs/slurm.sh --train_file my.txt --output_dir out
#SBATCH --job-name=hf_bnvae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export first_machine
first_machine=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# The rank is that of the machine, which only the task on it knows.
srun --kill-on-bad-exit=1 bash -c '
    exec .venv/bin/accelerate launch --config_file run_scripts/accelerate_configs/two_machines_bf16.yaml \
        --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
        --machine_rank "$SLURM_NODEID" --main_process_ip "$first_machine" run_scripts/run_lm.py "$@"
' launcher "$@"
