"""What a trainer saves: checkpoints that are whole or not there, and nothing that a reader would have to unpickle."""

import json
import os
import shutil
from pathlib import Path

from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .callbacks import LossSum
from .checkpoints import ARGUMENTS_NAME, PARTIAL_NAME, write_mark


class SavingTrainer(Trainer):
    """A `Trainer` whose saves are whole: a model is moved into its folder when all of it is written."""

    run_arguments: dict | None = None
    """Saved with every checkpoint, see `resuming.run_arguments`."""

    def callback(self, kind):
        """The callback of a class. It is looked up, because resuming replaces callbacks by new ones."""
        return next(item for item in self.callback_handler.callbacks if isinstance(item, kind))

    def create_model_card(self, *args, **kwargs) -> None:
        """Transformers' own card, unless the folder has one: that of `hub.ModelCardCallback` says more."""
        if not (Path(self.args.output_dir) / "README.md").is_file():
            super().create_model_card(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        partial = folder / PARTIAL_NAME
        try:
            super()._save(str(partial), state_dict)
            # Trainer pickles its arguments; the run's `all_results.json` and model card hold what is worth keeping.
            (partial / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            for path in sorted(partial.rglob("*")):
                target = folder / path.relative_to(partial)
                if path.is_dir():
                    target.mkdir(exist_ok=True)
                else:
                    os.replace(path, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _save_checkpoint(self, model, trial) -> None:
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        losses = self.callback(LossSum)
        unlogged = self.accelerator.reduce(self._tr_loss.detach().clone(), "mean")
        losses.saved = losses.earlier + self._total_loss_scalar + float(unlogged)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # for the random state of each process
            if self.args.should_save:
                if self.run_arguments is not None:
                    text = json.dumps(self.run_arguments, indent=2, sort_keys=True) + "\n"
                    (folder / ARGUMENTS_NAME).write_text(text, encoding="utf-8")
                write_mark(folder)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
