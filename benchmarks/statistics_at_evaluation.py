"""Running or re-estimated batch-norm statistics, batches of equal or of near-equal length: four validation curves.

    python benchmarks/statistics_at_evaluation.py --dataset_name FOLDER --output_dir runs/statistics

Trains one BN-VAE on batches of equal length and one on batches of near-equal length, for the same number of epochs,
and judges each evaluation twice: with the running average of the batch statistics, and with the statistics that
`VaeTrainer` re-estimates. Writes `curves.json` and `curves.png`.
"""

import argparse
import json
from pathlib import Path

from transformers import TrainerCallback, set_seed

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.data import VaeCollator, build_tokenizer, encode_corpus, load_corpus
from hf_bnvae.evaluation import elbo, infer, nll
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

NAMES = {True: "equal length", False: "near-equal length"}


class TwoStatistics(VaeTrainer):
    """Judges with the running statistics first, then as `VaeTrainer` does, and lets the running average go on."""

    def evaluation_loop(self, dataloader, *args, **kwargs):
        norm = self.model.model.posterior.mean_norm
        running = {name: buffer.clone() for name, buffer in norm.named_buffers()}
        by_running = elbo(infer(self.model, dataloader, seed=self.args.seed))
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        output.metrics["eval_elbo_running"] = by_running
        if self.is_in_train:
            norm.load_state_dict(running, strict=False)
        return output


class Collect(TrainerCallback):
    def __init__(self):
        self.curve = []

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        point = {"epoch": state.epoch, "running": metrics["eval_elbo_running"], "re-estimated": metrics["eval_elbo"]}
        self.curve.append(point)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset_name", default="pydocs", help="a built-in corpus, a local folder, or a Hub id")
    parser.add_argument("--output_dir", default="runs/statistics", help="where the curves go")
    parser.add_argument("--max_train_samples", type=int, default=None, help="use only the first so many sentences")
    parser.add_argument("--max_eval_samples", type=int, default=None, help="the same for validation")
    parser.add_argument("--num_train_epochs", type=float, default=4.0, help="epochs of each run")
    parser.add_argument("--learning_rate", type=float, default=2e-3, help="of AdamW, constant")
    parser.add_argument("--evaluations_per_epoch", type=int, default=3, help="points of the curves")
    parser.add_argument("--bf16", action="store_true", help="autocast to bf16")
    parser.add_argument("--seed", type=int, default=1, help="of both runs")
    args = parser.parse_args()
    limits = {"train": args.max_train_samples, "validation": args.max_eval_samples, "test": args.max_eval_samples}
    corpus = load_corpus(args.dataset_name, max_samples=limits)
    tokenizer = build_tokenizer(corpus.splits["train"]["text"])
    encoded = encode_corpus(corpus, tokenizer, 256)
    results = {equal: train(args, tokenizer, encoded, equal) for equal in NAMES}
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curves.json").write_text(json.dumps({NAMES[equal]: results[equal] for equal in NAMES}, indent=2) + "\n")
    draw({NAMES[equal]: result["curve"] for equal, result in results.items()}, folder / "curves.png")
    for equal, result in results.items():
        last = result["curve"][-1]
        print(
            f"{NAMES[equal]:>18}: validation ELBO {last['running']:.2f} with running statistics, "
            f"{last['re-estimated']:.2f} re-estimated; NLL {result['nll']:.2f} ({result['sentences']} sentences, K 100)"
        )


def train(args, tokenizer, encoded, equal: bool) -> dict:
    set_seed(args.seed)
    model = BnVaeForConditionalGeneration(
        BnVaeConfig(
            vocab_size=len(tokenizer),
            embedding_size=128,
            hidden_size=256,
            initializer_range=0.05,
            embedding_dropout=0.3,
            output_dropout=0.3,
        )
    )
    steps = len(encoded["train"]) // 32 // args.evaluations_per_epoch
    arguments = VaeTrainingArguments(
        output_dir=f"{args.output_dir}/{'equal' if equal else 'near'}",
        optim="adamw_torch",
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        per_device_train_batch_size=32,
        kl_annealing_epochs=1.0,
        num_train_epochs=args.num_train_epochs,
        equal_length=equal,
        eval_strategy="steps",
        eval_steps=steps,
        save_strategy="no",
        load_best_model_at_end=False,
        bf16=args.bf16,
        seed=args.seed,
    )
    collect = Collect()
    trainer = TwoStatistics(
        model,
        arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=VaeCollator(tokenizer.pad_token_id),
        callbacks=[collect],
    )
    trainer.train()
    judged = encoded["validation"].select(range(min(300, len(encoded["validation"]))))
    return {
        "curve": collect.curve,
        "nll": nll(model, trainer.get_eval_dataloader(judged), 100)["nll"],
        "sentences": len(judged),
    }


def draw(curves: dict[str, list[dict]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for (name, curve), colour in zip(curves.items(), ("black", "0.55"), strict=True):
        for kind, style in (("running", ":"), ("re-estimated", "-")):
            points = [(point["epoch"], point[kind]) for point in curve]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=f"{name}, {kind}")
    axes.set(xlabel="epoch", ylabel="validation ELBO (nats per sentence)")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
