"""How training scales over processes on one machine: the same steps on one process and on more, of the same batch.

    python benchmarks/scaling.py --processes 1 2
    python benchmarks/scaling.py --processes 1 2 4 --gpus --bf16

On the CPU the cores are shared out: N processes have 1/N of the threads each, and the best is a speedup of 1. On GPUs
each process has one, and the best is N. The batch is the same for all, shared out.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import lengths_of, machine

ROOT = Path(__file__).parents[1]
WARM_UP = 5
VOCABULARY = 9_000


def worker(args) -> None:
    """Train, and write the seconds of the steps after the warm-up."""
    from datasets import Dataset
    from transformers import TrainerCallback

    from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
    from hf_bnvae.data import VaeCollator
    from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

    class Warm(TrainerCallback):
        seconds = 0.0

        def on_step_end(self, arguments, state, control, **kwargs):
            if state.global_step == WARM_UP:
                self.seconds = trainer.stopwatch.seconds

    processes = int(os.environ.get("WORLD_SIZE", 1))
    random.seed(0)
    lengths = random.choices(lengths_of("short_yelp", 10), k=args.batch_size * (args.steps + WARM_UP))
    ids = [[1, *random.choices(range(4, VOCABULARY), k=length - 1), 2] for length in lengths]
    rows = Dataset.from_dict({"input_ids": ids, "length": [len(row) for row in ids]})
    sizes = {"embedding_size": 128, "hidden_size": args.hidden_size, "latent_size": 32, "vocab_size": VOCABULARY}
    arguments = VaeTrainingArguments(
        output_dir=args.worker,
        per_device_train_batch_size=args.batch_size // processes,
        max_steps=args.steps + WARM_UP,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
        logging_strategy="no",
        use_cpu=not args.gpus,
        bf16=args.bf16,
    )
    warm = Warm()
    trainer = VaeTrainer(
        BnVaeForConditionalGeneration(BnVaeConfig(**sizes)),
        arguments,
        train_dataset=rows,
        data_collator=VaeCollator(0),
        callbacks=[warm],
    )
    trainer.refresh_statistics = lambda exact=False: None
    trainer.seconds["last_statistics"] = 0.0
    trainer.train()
    if trainer.is_world_process_zero():
        tokens = sum(lengths) * args.steps / (args.steps + WARM_UP)
        found = {
            "seconds": trainer.stopwatch.seconds - warm.seconds,
            "tokens": tokens,
            "world_size": arguments.world_size,
        }
        Path(args.worker, "found.json").write_text(json.dumps(found))


def measured(processes: int, args, flags: list[str]) -> dict:
    threads = max(1, (os.cpu_count() or 1) // processes)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_machines", "1"]
    launch += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ([] if args.gpus else ["--cpu"])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    if not args.gpus:
        environment["ACCELERATE_USE_CPU"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*launch, __file__, *flags, "--worker", folder], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        found = json.loads(Path(folder, "found.json").read_text())
    assert found["world_size"] == processes
    return found | {"threads": threads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch_size", type=int, default=96, help="of all processes together")
    parser.add_argument("--hidden_size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument(
        "--rounds", type=int, default=2, help="each number of processes is run so often; the best counts"
    )
    parser.add_argument("--gpus", action="store_true", help="one GPU for each process")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    found: dict[int, dict] = {}
    for _ in range(args.rounds):
        for processes in args.processes:
            run = measured(processes, args, sys.argv[1:])
            if processes not in found or run["seconds"] < found[processes]["seconds"]:
                found[processes] = run
    first = found[args.processes[0]]
    device = torch.device("cuda" if args.gpus else "cpu")
    print(f"{machine(device)}, hidden size {args.hidden_size}, {args.batch_size} sentences a step")
    for processes, run in found.items():
        speedup = first["seconds"] / run["seconds"]
        share = speedup * (args.processes[0] / processes if args.gpus else 1)
        print(
            f"{processes} processes of {run['threads']} threads: {run['tokens'] / run['seconds']:,.0f} tokens/s, "
            f"speedup {speedup:.2f}, efficiency {share:.2f}"
        )


if __name__ == "__main__":
    main()
