"""The Trainer for dialogue: the bound of BN-CVAE, in batches of runs of responses."""

import random
from collections.abc import Sequence

from torch.utils.data import DataLoader, Sampler

from ..data import DialogueCollator, DialogueSampler, LengthBucketSampler
from ..evaluation import Inference, dialogue_metrics
from .arguments import DialogueTrainingArguments
from .trainer import VaeTrainer


class DialogueTrainer(VaeTrainer):
    """Trains a CVAE on rec + weight · [KL(q ‖ p) + KL(p ‖ N(0, I))] (Eq. 11), in nats per response.

    `kl`, `kl_prior` and, where the model has it, `bow_loss` stand beside the loss in the log; an evaluation gives what
    `evaluation.dialogue_metrics` does. The data sets are `data.DialogueResponses`, the collator a
    `data.DialogueCollator`.
    """

    ARGUMENTS, COLLATOR = DialogueTrainingArguments, DialogueCollator

    def __init__(self, model=None, args=None, **kwargs):
        self.PARTS = self.PARTS | {"kl_prior": "kl_prior"}
        super().__init__(model, args, **kwargs)

    def _sampler(self, dataset, batch_size: int, shuffle: bool = True, **options) -> Sampler:
        return DialogueSampler(dataset.dialogues, batch_size, self.args.run_length, shuffle=shuffle, **options)

    def _statistics_rows(self, count: int) -> Sequence[int]:
        # Runs of responses, because each alone would have its whole context read for it.
        sampler = DialogueSampler(self.train_dataset.dialogues, 1, self.args.run_length, seed=self.args.seed)
        rows = [row for run in sampler.runs(random.Random(self.args.seed)) for row in run]
        return rows[:count]

    def get_likelihood_dataloader(self, dataset) -> DataLoader:
        """Responses of like length together, for the NLL, whose time goes into their decoding."""
        sampler = LengthBucketSampler(
            dataset.lengths, self.args.per_device_eval_batch_size, shuffle=False, **self._share_of(dataset)
        )
        return self._data_loader(dataset, sampler)

    def _judge(self, inference: Inference) -> dict[str, float]:
        return dialogue_metrics(inference)
