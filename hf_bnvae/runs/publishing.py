"""`push_to_hub`: before a training and after it."""

import shlex

from ..errors import ParameterError
from ..hub import HubError, Published, make_repository, publish

READ_WITH_PUSH = ("hub_model_id", "hub_private_repo", "hub_revision", "hub_always_push")
"""Arguments of the repository, which a run without `push_to_hub` does not read; `trainer.push_to_hub()` does."""


def take_push_to_hub(args) -> bool:
    """Take `push_to_hub` from `Trainer`, which would push at every save; make sure of the repository before training.

    Returns:
        Whether the finished run is to be published, by `push_to_hub`.

    Raises:
        HubError: it could not be published.
        ParameterError: the arguments of the repository do not go together.
    """
    wanted, args.push_to_hub = args.push_to_hub, False
    if not wanted:
        unread = [name for name in READ_WITH_PUSH if getattr(args, name)]
        if unread:
            raise ParameterError(f"`{unread[0]}` is read with `push_to_hub` only: leave it out, or give both")
        return False
    if args.hub_model_id is None:
        raise ParameterError("`push_to_hub` needs the name of the model on the Hub: add `hub_model_id` USER/NAME")
    if args.hub_strategy != "end" or args.hub_always_push:
        raise ParameterError(
            "a run is published once, when it is finished: leave out `hub_strategy` and `hub_always_push`"
        )
    if args.process_index == 0:
        make_repository(args.hub_model_id, args.hub_private_repo)
    return True


def push_to_hub(args) -> Published:
    """Publish the finished run in `args.output_dir`.

    Raises:
        HubError: it was not published; the error names the command that finishes the job.
    """
    try:
        return publish(args.output_dir, args.hub_model_id, args.hub_private_repo, revision=args.hub_revision)
    except HubError as error:
        command = ["hf-bnvae", "publish", args.output_dir, "--repo_id", args.hub_model_id]
        command += ["--private"] if args.hub_private_repo else []
        command += ["--revision", args.hub_revision] if args.hub_revision else []
        raise HubError(
            f"{error}. The trained model is whole in {args.output_dir}, and `{shlex.join(command)}` publishes it"
        ) from None
