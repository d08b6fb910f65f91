"""What test_processes.py launches to see a run end: the second process fails in its third step."""

import sys
from pathlib import Path

from transformers import TrainerCallback

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.cli.run import run
from hf_bnvae.data import VaeCollator
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments
from tests.training.train_on_processes import SIZES, sentences, settings


class Fail(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if args.process_index == 1 and state.global_step == 3:
            raise RuntimeError("this process has had enough")


def main() -> None:
    data = {"train_dataset": sentences(55, seed=0), "eval_dataset": sentences(17, seed=1)}
    arguments = VaeTrainingArguments(**settings(Path(sys.argv[1]), {}))
    model = BnVaeForConditionalGeneration(BnVaeConfig(vocab_size=40, **SIZES))
    VaeTrainer(model, arguments, **data, data_collator=VaeCollator(0), callbacks=[Fail()]).train()


if __name__ == "__main__":
    run(main)
