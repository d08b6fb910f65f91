"""What makes a checkpoint carry all that loads it."""

from collections.abc import Callable
from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import logging

from .version import __version__

logger = logging.get_logger(__name__)


@strict
class CheckpointConfig(PreTrainedConfig):
    """A configuration that names every class of its model, so that Auto classes load it without this package.

    `AUTO_CLASSES` maps Auto classes to `module.Class` among the files that are saved beside the weights. Saving merges
    only the class that is saved into `auto_map`; the whole map stands here from the start. The version of this package
    is written as `hf_bnvae_version`. `before_the_first` is called once, before there is a configuration.
    """

    AUTO_CLASSES: ClassVar[dict[str, str]] = {}
    before_the_first: ClassVar[Callable[[], None] | None] = None

    def __new__(cls, *args, **kwargs):
        call, CheckpointConfig.before_the_first = CheckpointConfig.before_the_first, None
        if call is not None:
            call()
        return super().__new__(cls)

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        # The files beside a checkpoint that is saved are this code's, wherever the loaded one pointed to.
        self.auto_map = dict(self.AUTO_CLASSES)
        self.hf_bnvae_version = __version__

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        written = config_dict.get("hf_bnvae_version")
        if written not in (None, __version__):
            logger.warning_once(
                f"This checkpoint was saved by hf_bnvae {written} and is read by hf_bnvae {__version__}. Should "
                f"weights be missing or numbers differ, install version {written} of hf_bnvae."
            )
        return super().from_dict(config_dict, **kwargs)
