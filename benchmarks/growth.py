"""How time and memory grow with sentences, length, vocabulary, latent size and K: the exponent of each, as measured.

    python benchmarks/growth.py
    python benchmarks/growth.py --quick     (a few seconds, too small to mean much)

Every value is measured, on the CPU in a process of its own: the best time of several, and the memory that the call adds
to what is held before it. The exponent is the slope of a straight line through the logarithms: 1 is linear, and fixed
costs make it less.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import MIB, apart, bytes_over, machine, parsed, parser_of, random_batch, seconds, set_tf32, write_figures
from train_throughput import step_of

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration

SIZES = {"embedding_size": 64, "hidden_size": 64, "latent_size": 32, "vocab_size": 1000}
BATCH_SIZE = 32
LENGTH = 16
REPEATS = 5
NOTICEABLY_ABOVE_LINEAR = 1.1

Measured = tuple[float, int]


def model_of(device: torch.device, **sizes: int) -> BnVaeForConditionalGeneration:
    torch.manual_seed(0)
    set_tf32("fp32")
    return BnVaeForConditionalGeneration(BnVaeConfig(**SIZES | sizes)).to(device)


def measured(call: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> Measured:
    added = bytes_over(call, device)
    return min(seconds(call, device) for _ in range(repeats)), added


def training_step(device: torch.device, length: int = LENGTH, **sizes: int) -> Measured:
    model = model_of(device, **sizes)
    step = step_of(model)
    step(random_batch(2, 2, model.config.vocab_size, device))
    batch = random_batch(BATCH_SIZE, length, model.config.vocab_size, device)
    return measured(lambda: step(batch), device)


def likelihood(device: torch.device, num_samples: int = 50, length: int = LENGTH, **sizes: int) -> Measured:
    from hf_bnvae.evaluation import nll

    model = model_of(device, **sizes).eval()
    nll(model, [random_batch(1, 2, model.config.vocab_size, device)], 2)
    batch = random_batch(4, length, model.config.vocab_size, device)
    return measured(lambda: nll(model, [batch], num_samples), device)


def write_sentences(path: Path, sentences: int) -> None:
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as lines:
        for _ in range(sentences):
            words = draw.choices(range(SIZES["vocab_size"] - 4), k=draw.randint(4, LENGTH))
            lines.write(" ".join(f"w{word}" for word in words) + "\n")


def encoded(path: Path):
    """The rows of a text file, read and encoded as run_lm.py does it, and their tokenizer."""
    from hf_bnvae.data import build_tokenizer, encode_corpus, load_corpus

    corpus = load_corpus(None, {"train": str(path)})
    tokenizer = build_tokenizer(corpus.splits["train"]["text"])
    return encode_corpus(corpus, tokenizer, 256)["train"], tokenizer


def reading(device: torch.device, sentences: int) -> Measured:
    """A text file into a tokenizer and encoded rows; once, because what is read is kept."""
    with tempfile.TemporaryDirectory() as folder:
        warm, path = Path(folder, "warm.txt"), Path(folder, "train.txt")
        write_sentences(warm, 64)
        encoded(warm)
        write_sentences(path, sentences)
        taken = []
        added = bytes_over(lambda: taken.append(seconds(lambda: encoded(path), device)), device)
    return taken[0], added


def trainer_of(device: torch.device, sentences: int, folder: str, **sizes: int):
    """A trainer of one epoch in fp32, and its data."""
    from transformers import PrinterCallback
    from transformers.utils import logging

    from hf_bnvae.data import VaeCollator
    from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    write_sentences(Path(folder, "train.txt"), sentences)
    rows, tokenizer = encoded(Path(folder, "train.txt"))
    arguments = VaeTrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        kl_annealing_epochs=0,
        per_device_train_batch_size=BATCH_SIZE,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
    )
    model = model_of(device, vocab_size=len(tokenizer), **sizes)
    trainer = VaeTrainer(model, arguments, train_dataset=rows, data_collator=VaeCollator(tokenizer.pad_token_id))
    trainer.remove_callback(PrinterCallback)
    return trainer


def training_epoch(device: torch.device, sentences: int) -> Measured:
    """One epoch by `VaeTrainer`, the exact statistics at its end included."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(device, sentences, folder)
        return measured(trainer.train, device, 1)


def evaluation(device: torch.device, sentences: int) -> Measured:
    """Every metric of a split but the NLL, by a model of the sizes of Penn Treebank's."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(device, sentences, folder, embedding_size=256, hidden_size=256)
        return measured(lambda: trainer.evaluate(trainer.train_dataset), device, 2)


# What grows, in what, how it is measured, and its smallest value; the others are 2, 4 and 8 times that.
QUANTITIES = (
    ("sentences", "reading a file", reading, "sentences", 4000),
    ("sentences", "training an epoch", training_epoch, "sentences", 1000),
    ("sentences", "evaluation 256/256", evaluation, "sentences", 1000),
    ("length", "training step", training_step, "length", 16),
    ("length", "NLL", likelihood, "length", 16),
    ("vocabulary", "training step", training_step, "vocab_size", 4000),
    ("vocabulary", "NLL", likelihood, "vocab_size", 4000),
    ("latent size", "training step", training_step, "latent_size", 256),
    ("K", "NLL", likelihood, "num_samples", 50),
)
QUICK_SHARE = 16
# What a GPU is given more of, to be busy at all; sentences keep it waiting for the next step in any number.
GPU_FACTOR = 8


def exponent(values: list[int], measures: list[float]) -> float:
    """The slope of log measure over log value."""
    return float(np.polyfit(np.log(values), np.log(measures), 1)[0])


def one_value(device: torch.device, workload: Callable[..., Measured], name: str, value: int) -> Measured:
    return workload(device, **{name: value})


def values_of(smallest: int, quick: bool, more: bool) -> list[int]:
    if quick:
        return [smallest // QUICK_SHARE, smallest // QUICK_SHARE * 2]
    return [smallest * (GPU_FACTOR if more else 1) * factor for factor in (1, 2, 4, 8)]


def main(argv: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="small values, two of each quantity")
    args = parsed(parser, argv)
    started = time.perf_counter()
    print(machine(args.device))
    sizes = f"{SIZES['embedding_size']}/{SIZES['hidden_size']}/{SIZES['latent_size']}"
    print(f"{sizes}, V = {SIZES['vocab_size']:,}, batch {BATCH_SIZE}, {LENGTH} tokens, where nothing else is said")
    print(f"\n{'quantity':<13}{'of':<19}{'values':<29}{'seconds':<28}{'time':>6}{'memory':>8}")
    figures = {}
    for quantity, what, workload, name, smallest in QUANTITIES:
        values = values_of(smallest, args.quick, args.device.type == "cuda" and name != "sentences")
        times, memory = zip(*(apart(one_value, args.device, workload, name, value) for value in values), strict=True)
        in_time, in_memory = exponent(values, times), exponent(values, [max(MIB, added) for added in memory])
        print(
            f"{quantity:<13}{what:<19}{' '.join(f'{value:,}' for value in values):<29}"
            f"{' '.join(f'{taken:.3f}' for taken in times):<28}{in_time:>6.2f}{in_memory:>8.2f}",
            flush=True,
        )
        figures[f"{quantity}, {what}: exponent of time"] = in_time
        figures[f"{quantity}, {what}: exponent of memory"] = in_memory
    above = [name for name, found in figures.items() if found > NOTICEABLY_ABOVE_LINEAR]
    print(f"\nabove linear (over {NOTICEABLY_ABOVE_LINEAR}): {'; '.join(above) or 'nothing'}")
    print(f"measured in {time.perf_counter() - started:.0f} seconds")
    write_figures(args.json_file, figures | {"largest exponent": max(figures.values())})


if __name__ == "__main__":
    main()
