"""The end of a training whose numbers are no numbers any more."""

from .checkpoints import checkpoint_folders, last_checkpoint


class NonFiniteLossError(ArithmeticError):
    """The loss or a weight became NaN or infinite; nothing was saved since."""


def ruined(output_dir: str, what: str) -> NonFiniteLossError:
    """The error that says what is not finite, and from where to go on."""
    kept = last_checkpoint(output_dir, finite=True)
    if kept is not None:
        advice = f"the last good checkpoint is {kept}: resume from it with a smaller max_grad_norm"
    else:
        none = "good checkpoint" if checkpoint_folders(output_dir) else "checkpoint yet"
        advice = f"there is no {none}: start again with a smaller learning_rate"
    return NonFiniteLossError(f"{what}; {advice}")
