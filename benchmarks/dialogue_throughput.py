"""Dialogue: the step of BN-CVAE over CVAE's, what encoding each utterance once saves, and the rate of sampling.

    python benchmarks/dialogue_throughput.py

The models have the paper's sizes (--share 0.5 for half of them) and read Switchboard, or generated dialogues of its
lengths where the data is not there. All ratios come from one run: the models take turns on the same batches.
"""

import argparse
import json
import random
import statistics

import torch
from measure import DATA, machine, matrix_peak, median_ratio, seconds

from hf_bnvae import BnCvaeConfig, BnCvaeForConditionalGeneration
from hf_bnvae.data import DialogueCollator, DialogueResponses, DialogueSampler
from hf_bnvae.methods import DIALOGUE_METHODS
from hf_bnvae.models.objectives import IGNORED
from hf_bnvae.plans import build_model

SIZES = {
    "embedding_size": 200,
    "utterance_hidden_size": 300,
    "context_hidden_size": 600,
    "hidden_size": 400,
    "latent_size": 200,
}
VOCABULARY = 10_000
CONTEXT_TURNS = 10
LONGEST = 42


def dialogues(count: int) -> DialogueResponses:
    """Dialogues with the lengths and the speakers of Switchboard, and random words."""
    path = DATA / "switchboard" / "train.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            turns = [json.loads(line)["turns"] for line, _ in zip(lines, range(count), strict=False)]
        spoken = [[(turn["speaker"], len(turn["text"].split()) + 2) for turn in dialogue] for dialogue in turns]
    else:
        print(f"{path} is not there: dialogues of 170 turns of 3 to 22 tokens instead (set BNVAE_DATA)")
        spoken = [[(random.choice("AB"), 3 + int(random.expovariate(1 / 6)) % 20) for _ in range(170)]] * count
    utterances, speakers, starts, responses = [], [], [], []
    for dialogue in spoken:
        start = len(utterances)
        for speaker, length in dialogue:
            words = [random.randrange(4, VOCABULARY) for _ in range(min(length, LONGEST) - 2)]
            utterances.append([1, *words, 2])
            speakers.append(ord(speaker[0]))
            starts.append(start)
        responses += range(start + 1, len(utterances))
    return DialogueResponses(utterances, speakers, starts, [0] * len(utterances), responses, CONTEXT_TURNS)


def multiply_adds(config: BnCvaeConfig) -> tuple[int, int, int]:
    """Multiply-adds of an utterance's token, of a turn of a context, and of a response's token."""
    e, u, c, h = config.embedding_size, config.utterance_hidden_size, config.context_hidden_size, config.hidden_size
    return 6 * u * (e + u), 3 * c * (2 * u + 1 + c), 3 * h * (e + h) + h * config.vocab_size


def arithmetic(config: BnCvaeConfig, batch: dict[str, torch.Tensor]) -> float:
    """Multiply-adds of one pass over a batch."""
    token, turn, word = multiply_adds(config)
    return (
        token * int(batch["attention_mask"].sum())
        + turn * int((batch["context_index"] >= 0).sum())
        + word * int((batch["labels"] != IGNORED).sum())
    )


def step_of(model: BnCvaeForConditionalGeneration):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    model.train()

    def step(batch):
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the paper's sizes")
    parser.add_argument("--batch_size", type=int, default=30, help="responses in a batch")
    parser.add_argument("--run_length", type=int, default=8, help="consecutive responses that share a batch")
    parser.add_argument("--steps", type=int, default=20, help="steps of each model")
    parser.add_argument("--responses", type=int, default=10, help="responses to each context in the sampling")
    args = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    sizes = {name: round(size * args.share) for name, size in SIZES.items()}
    rows, collate = dialogues(60), DialogueCollator(0)

    models = {name: build_model(name, **sizes, vocab_size=VOCABULARY) for name in DIALOGUE_METHODS}
    config = models["bn_cvae"].config
    steps = {name: step_of(model) for name, model in models.items()}
    sampler = iter(DialogueSampler(rows.dialogues, args.batch_size, args.run_length))
    times: dict[str, list[float]] = {name: [] for name in (*steps, "bn_cvae alone")}
    once, rates, shares = step_of(models["bn_cvae"]), [], []
    for number in range(args.steps + 1):
        chosen = next(sampler)
        batch = collate(rows.__getitems__(chosen))
        alone = [dict(row, first=place * LONGEST) for place, row in enumerate(rows.__getitems__(chosen))]
        apart = collate(alone)
        taken = {name: seconds(lambda step=step, batch=batch: step(batch)) for name, step in steps.items()}
        taken["bn_cvae alone"] = seconds(lambda apart=apart: once(apart))
        if number:
            for name, value in taken.items():
                times[name].append(value)
            rates.append(6 * arithmetic(config, batch) / taken["bn_cvae"])
            shares.append(len(batch["input_ids"]) / len(apart["input_ids"]))
    peak = matrix_peak()
    rate = statistics.median(rates)
    print(f"{args.share:g} of the paper's sizes, batch {args.batch_size}, {machine()}")
    for name in steps:
        print(
            f"{name:<10}{1000 * statistics.median(times[name]):>8.1f} ms a step, "
            f"{median_ratio(times[name], times['cvae']):.3f} over cvae"
        )
    print(f"training of bn_cvae: {rate / 1e9:.0f} GFLOP/s, {rate / peak:.2f} of the matrix peak")
    print(
        f"each utterance once in a batch (runs of {args.run_length}): {statistics.mean(shares):.2f} of the utterances, "
        f"{median_ratio(times['bn_cvae'], times['bn_cvae alone']):.2f} of the time of a step"
    )
    sampling_rate(models["bn_cvae"].eval(), collate, rows, args.responses, rate)


def sampling_rate(model, collate, rows: DialogueResponses, responses: int, training_rate: float) -> None:
    """Tokens a second of greedy responses of the length of Switchboard's, and their share of the training's rate."""
    batch = collate(rows.__getitems__(range(128)))
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("labels", "response_index")}
    length = round(statistics.mean(rows.lengths)) - 1
    options = {"max_new_tokens": length, "min_new_tokens": length}
    model.sample(responses, **inputs, **options)
    taken = statistics.median(seconds(lambda: model.sample(responses, **inputs, **options)) for _ in range(3))
    tokens = 128 * responses * length
    rate = 2 * tokens * multiply_adds(model.config)[2] / taken
    print(
        f"sampling {responses} responses of {length} tokens to 128 contexts: {tokens / taken:,.0f} tokens/s, "
        f"{rate / 1e9:.0f} GFLOP/s, {rate / training_rate:.2f} of the training's rate"
    )


if __name__ == "__main__":
    main()
