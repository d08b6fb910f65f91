"""A model with its tokenizer, loaded, saved and published as one."""

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file, extract_commit_hash, logging

from .data.tokenizer_pair import SUBFOLDER, TokenizerPair, with_decoder_tokenizer
from .models.layers import modes_kept

if TYPE_CHECKING:
    from .hub import Published

logger = logging.get_logger(__name__)

Pipeline = TypeVar("Pipeline", bound="ModelWithTokenizer")
RUN_FILES = ("all_results.json", "run.json", "trainer_state.json")
"""What a model card is written from, beside the configuration."""
CARD_FILES = ("README.md", "training.png")
WHERE_FROM = ("revision", "token", "cache_dir", "local_files_only", "subfolder", "force_download")


def folder_of_run(name: str, subfolder: str = "", **where) -> Path | None:
    """The folder where what a run left beside its model lies: that of the model, or what is fetched of it from the Hub.

    Args:
        name: of a folder or on the Hub.
        where: options of `from_pretrained` that say where a checkpoint is.
    """
    if Path(name).is_dir():
        return Path(name, subfolder)
    quiet = (f"_raise_exceptions_for_{what}" for what in ("gated_repo", "missing_entries", "connection_errors"))
    options = {"subfolder": subfolder, **where, **dict.fromkeys(quiet, False)}
    config = cached_file(name, "config.json", **options)
    if config is None:
        return None
    options["revision"] = extract_commit_hash(config, None)
    for file in (*RUN_FILES, *CARD_FILES):
        cached_file(name, file, **options)
    return Path(config).parent


def where_from(options: Mapping) -> dict:
    """Those options of `from_pretrained` that say where a checkpoint is, for its tokenizer."""
    return {name: options[name] for name in WHERE_FROM if name in options}


DRAWING = threading.RLock()
"""Held by a pipeline that draws from torch's global generator."""


@contextmanager
def draws(seed: int | None) -> Iterator[None]:
    """Draw from torch's global generator while no other pipeline does; from a `seed`, and leave it as it was."""
    with DRAWING, torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


class ModelWithTokenizer:
    """What the pipelines share: a model with its tokenizer that is loaded, saved and published as one."""

    MODEL: type[PreTrainedModel]
    CONFIG: type[PreTrainedConfig]
    KIND: str
    """What the model is, for errors."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    folder: Path | None = None
    """Where the results and the record of the run that trained the model lie, if they are known."""
    fetch_run: Callable[[], Path | None] | None = None
    """What fetches them from the Hub, for a model from there: saving and publishing need them, and loading does not."""

    @classmethod
    def load(cls, name: str, device: str | int | torch.device | None, options: Mapping, *settings) -> Any:
        """A model on its device and its tokenizer, from a folder or the Hub, under further `settings` of the class.

        Raises:
            ValueError: for a model of another kind, or a checkpoint without the decoder.
        """
        shared = where_from(options)
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **shared)
        if not isinstance(config, cls.CONFIG):
            wanted = f"{cls.KIND} ({cls.CONFIG.model_type})"
            raise ValueError(f"{name} is a {config.model_type} model, and {cls.__name__} needs {wanted}")
        both: Any = cls.MODEL.from_pretrained(name, output_loading_info=True, **options)
        model, loaded = both
        if loaded["missing_keys"]:
            raise ValueError(f"{name} lacks weights of a whole model, {min(loaded['missing_keys'])} for one")
        if device is None and "device_map" not in options and torch.accelerator.is_available():
            device = torch.accelerator.current_accelerator()
        if device is not None:
            model = model.to("cpu" if device == -1 else torch.device(device))
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **shared)
        make: Any = cls
        pipeline = make(model, with_decoder_tokenizer(tokenizer, name, **shared), *settings)
        if Path(name).is_dir():
            pipeline.folder = folder_of_run(name, **shared)
        else:
            pinned = {"revision": commit} if (commit := getattr(config, "_commit_hash", None)) else {}
            pipeline.fetch_run = partial(folder_of_run, name, **shared | pinned)
        return pipeline

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def to(self: Pipeline, *args, **kwargs) -> Pipeline:
        """Move the model to a device or into a dtype, as `nn.Module.to` does; gives the pipeline itself."""
        self.model.to(*args, **kwargs)
        return self

    def __repr__(self) -> str:
        model = self.model
        return f"{type(self).__name__}({type(model).__name__}, device={str(model.device)!r}, dtype={model.dtype})"

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model in evaluation mode, after which it has the mode that it had."""
        with modes_kept(self.model):
            self.model.eval()
            yield

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the model and the tokenizer, with the results and the record of the run where they are known.

        Tokenizers, results and the card (unless it was changed by hand) that another model left in the folder go.

        Args:
            folder: it is made where there is none. `from_pretrained` loads it.
        """
        from .hub.publishing import remove_earlier

        folder = Path(folder)
        self._find_run()
        elsewhere = self.folder is None or self.folder.resolve() != folder.resolve()
        if elsewhere:
            remove_earlier(folder)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if not isinstance(self.tokenizer, TokenizerPair):
            shutil.rmtree(folder / SUBFOLDER, ignore_errors=True)
        if elsewhere:
            self._copy_run(folder, RUN_FILES)

    def _find_run(self) -> None:
        """Fetch what belongs to the model from the Hub, once."""
        if self.folder is None and self.fetch_run is not None:
            self.folder, self.fetch_run = self.fetch_run(), None

    def _copy_run(self, folder: Path, names: Iterable[str]) -> None:
        """Copy files of the run that trained the model, where they are known."""
        for name in names:
            if self.folder is not None and (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)

    def push_to_hub(
        self,
        repo_id: str,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
    ) -> "Published":
        """Publish the model and the tokenizer with a model card, in one commit.

        The card is that of the run, where it is known, and is written anew unless somebody has changed it by hand.

        Args:
            repo_id, private, token, revision, commit_message: see `hub.publish`.

        Raises:
            HubError: it was not published.
        """
        from .hub import publish, write_card
        from .hub.cards import CARD_NAME, has_own_card

        self._find_run()
        own = self.folder
        by_hand = own is not None and (own / CARD_NAME).is_file() and not has_own_card(own)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            self._copy_run(Path(folder), CARD_FILES)
            if by_hand:
                logger.warning(
                    f"The model card in {own} was changed by hand and stays as it is; does it load {repo_id}?"
                )
            else:
                write_card(folder, repo_id, revision=revision)
            return publish(folder, repo_id, private, token, revision, commit_message)
