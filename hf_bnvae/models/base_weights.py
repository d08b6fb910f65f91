"""Frozen weights of pretrained parts that are not saved with a model, and are read from where they came from."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file

from .encoders import encoder_class

NETWORKS = {"encoder": ("encoder", "model.encoder"), "decoder": ("decoder.lm",)}
"""Where the network of a part stands in one model or another."""
MISSING = {"encoder": r"^(model\.)?encoder\.", "decoder": r"^decoder\.lm\.(?!.*lora_)"}
"""The weights that a checkpoint without the base of a part lacks: all but the adapters."""
WHERE_FROM = ("token", "cache_dir", "local_files_only")
BLOCK = 1 << 20


class BaseWeightsMixin:
    """A model that may be saved without the frozen weights of a pretrained part, and then reads them from there.

    `config.encoder_base` and `config.decoder_base` say where: the name on the Hub with its revision, or the path of a
    folder with the digest of the weights in it.
    """

    config: Any
    _keys_to_ignore_on_save: Any
    _keys_to_ignore_on_load_missing: Any
    _left_out: frozenset[str] = frozenset()

    def post_init(self):
        super().post_init()  # type: ignore[misc]
        patterns = {MISSING[part] for part in NETWORKS if getattr(self.config, f"{part}_base", None) is not None}
        self._keys_to_ignore_on_load_missing = {*(self._keys_to_ignore_on_load_missing or ()), *patterns}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """See `PreTrainedModel`; weights that were not saved are fetched.

        Raises:
            ValueError: they are not where they came from, or are other ones.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)  # type: ignore[misc]
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.take_base_weights(model.config, **{name: kwargs[name] for name in WHERE_FROM if name in kwargs})
        return loaded

    def leave_out_base(self, **names: str) -> None:
        """Leave weights out of what is saved from now on.

        Args:
            names: of parts, `encoder` and `decoder`: the names or folders that their networks came from, whose weights
                are as they were; beside adapters, which are saved.
        """
        for part, name in names.items():
            setattr(self.config, f"{part}_base", base_of(name))
        self._ignore_left_out()

    def _ignore_left_out(self) -> None:
        names = {
            f"{path}.{name}" for _, path, network in base_networks(self, self.config) for name in base_names(network)
        }
        self._keys_to_ignore_on_save = {*(self._keys_to_ignore_on_save or ())} - self._left_out | names
        self._left_out = frozenset(names)

    @property
    def left_out_bytes(self) -> int:
        """The bytes of the weights that are not saved, tied ones counted once."""
        tensors = [
            tensor for _, _, network in base_networks(self, self.config) for tensor in base_names(network).values()
        ]
        return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())

    def save_pretrained(self, save_directory, *args, **kwargs):
        """See `PreTrainedModel`; without the weights that `config.encoder_base` and `config.decoder_base` name."""
        self._ignore_left_out()
        return super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]

    def take_base_weights(self, config, **where) -> None:
        """Read the weights that a checkpoint with such a configuration lacks.

        Args:
            where: options of `from_pretrained` that say where a model is.

        Raises:
            ValueError: they are not where they came from, or are other ones.
        """
        for part, _, network in base_networks(self, config):
            wanted = base_names(network)
            kind = encoder_class(config.encoder_config) if part == "encoder" else AutoModelForCausalLM
            dtype = next(tensor.dtype for tensor in wanted.values() if tensor.is_floating_point())
            found = fetched(kind, part, getattr(config, f"{part}_base"), dtype=dtype, **where).state_dict()
            with torch.no_grad():
                for name, tensor in wanted.items():
                    tensor.copy_(found[name.replace(".base_layer.", ".")])


def base_networks(model, config) -> Iterator[tuple[str, str, nn.Module]]:
    """The networks of a model whose weights a configuration leaves out: the part, its path in the model, and it."""
    for part, paths in NETWORKS.items():
        if getattr(config, f"{part}_base", None) is not None:
            present = dict(model.named_modules())
            yield from ((part, path, present[path]) for path in paths if path in present)


def base_names(network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network by their names, without those of adapters."""
    return {name: tensor for name, tensor in nn.Module.state_dict(network).items() if "lora_" not in name}


def base_of(name: str) -> dict[str, str | None]:
    """What is recorded of a pretrained network: where its weights are, and which ones they are."""
    if Path(name).is_dir():
        return {"name": str(Path(name).resolve()), "digest": digest_of_weights(Path(name))}
    found = re.search(r"/snapshots/([^/]+)/", Path(cached_file(name, "config.json") or "").as_posix())
    return {"name": name, "revision": found[1] if found else None}


def digest_of_weights(folder: Path) -> str:
    """The SHA-256 of the files of weights in a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def fetched(kind: Any, part: str, base: dict[str, str | None], **options) -> nn.Module:
    """The network that a checkpoint was saved without.

    Raises:
        ValueError: it is not there, or has other weights.
    """
    name = str(base["name"])
    saved = f"the {part}'s weights were not saved with this model and are read from {name}"
    if base.get("digest") is not None:
        if not Path(name).is_dir():
            raise ValueError(
                f"{saved}, which is not there: put that folder back, or pass {part}_base={{'name': ITS_PLACE}} to "
                "from_pretrained"
            )
        if digest_of_weights(Path(name)) != base["digest"]:
            raise ValueError(f"{saved}, where other weights lie now: put those back that the model was trained with")
    try:
        return kind.from_pretrained(name, revision=base.get("revision") or "main", **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{saved} at revision {base.get('revision')}, which cannot be loaded: {reason}") from error
