"""Frozen weights of pretrained parts that are not saved with a model, and are read from where they came from."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import cached_file, logging

from .encoders import encoder_class

NETWORKS = {"encoder": ("encoder", "model.encoder"), "decoder": ("decoder.lm",)}
"""Where the network of a part stands in one model or another."""
MISSING = {"encoder": r"^(model\.)?encoder\.", "decoder": r"^decoder\.lm\.(?!.*lora_)"}
"""The weights that a checkpoint without the base of a part lacks: all but the adapters."""
WHERE_FROM = ("token", "cache_dir", "local_files_only")
UNREAD = "pooler."
"""The layer of an encoder that nothing reads: where a checkpoint has none it is another at each loading."""
BLOCK = 1 << 20

logger = logging.get_logger(__name__)


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
        for _, _, network in base_networks(model, model.config):
            freeze_base(network)
        return loaded

    def leave_out_base(self, encoder: str | None = None, decoder: str | None = None) -> None:
        """Leave the weights of pretrained parts out of what is saved from now on, and freeze them.

        Once they are to be trained (`requires_grad_`) all of them are saved again.

        Args:
            encoder, decoder: the names or folders that the networks came from, whose weights are as they were; beside
                adapters, which are saved. None for a part that is saved whole.

        Raises:
            ValueError: a part is no pretrained network, or has other weights than there are under its name.
        """
        names = {part: name for part, name in (("encoder", encoder), ("decoder", decoder)) if name is not None}
        for part, name in names.items():
            networks = networks_at(self, *NETWORKS[part])  # type: ignore[arg-type]
            if not networks:
                raise ValueError(f"the {part} of this model is no pretrained network: leave out {part}={name}")
            pairs = self._weights_there(part, networks[0][1], {"name": name})
            if not all(_are_equal(*pair) for pair in pairs if not pair[0].startswith(UNREAD)):
                raise ValueError(
                    f"{name} has other weights than the {part}: name what it was made of, or save it whole"
                )
        self.record_base(**names)

    def record_base(self, **names: str) -> None:
        """As `leave_out_base`, of networks that were read from there just now."""
        for part, name in names.items():
            setattr(self.config, f"{part}_base", base_of(name))
        for _, _, network in base_networks(self, self.config):
            freeze_base(network)
        self._ignore_left_out()

    def _ignore_left_out(self) -> None:
        names: set[str] = set()
        for part, path, network in base_networks(self, self.config):
            if any(weight.requires_grad for weight in base_parameters(network)):
                logger.warning(f"The weights of the {part} are not frozen any more, and are saved with the model.")
                setattr(self.config, f"{part}_base", None)
            else:
                names |= {f"{path}.{name}" for name in base_names(network)}
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
            with torch.no_grad():
                for _, tensor, found in self._weights_there(part, network, getattr(config, f"{part}_base"), **where):
                    if found is None or found.shape != tensor.shape:
                        name = getattr(config, f"{part}_base")["name"]
                        raise ValueError(
                            f"{name} has weights of other sizes than the {part} that was left out: put those back"
                        )
                    tensor.copy_(found)

    def _weights_there(
        self, part: str, network: nn.Module, base: dict, **where
    ) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """The weights of a network by name, each with the one where `base` says, if there is one."""
        wanted = base_names(network)
        kind = encoder_class(self.config.encoder_config) if part == "encoder" else AutoModelForCausalLM
        dtype = next(tensor.dtype for tensor in wanted.values() if tensor.is_floating_point())
        found = fetched(kind, part, base, dtype=dtype, **where).state_dict()
        for name, tensor in wanted.items():
            yield name, tensor, found.get(name.replace(".base_layer.", "."))


def _are_equal(name: str, tensor: torch.Tensor, found: torch.Tensor | None) -> bool:
    return found is not None and torch.equal(tensor, found.to(tensor.device))


def base_networks(model, config) -> Iterator[tuple[str, str, nn.Module]]:
    """The networks of a model whose weights a configuration leaves out: the part, its path in the model, and it."""
    for part, paths in NETWORKS.items():
        if getattr(config, f"{part}_base", None) is not None:
            yield from ((part, path, network) for path, network in networks_at(model, *paths))


def networks_at(model: nn.Module, *paths: str) -> list[tuple[str, nn.Module]]:
    """What stands at some of the paths in a model, with its path."""
    present = dict(model.named_modules())
    return [(path, present[path]) for path in paths if path in present]


def base_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """The weights that may be trained of a network, without those of adapters."""
    return (weight for name, weight in network.named_parameters() if "lora_" not in name)


def freeze_base(network: nn.Module) -> None:
    """Train no weights of a network but those of adapters."""
    for weight in base_parameters(network):
        weight.requires_grad_(False)


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
    name = str(base.get("name"))
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
        revision = base.get("revision") or "main"
        return kind.from_pretrained(name, revision=revision, trust_remote_code=False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{saved} at revision {base.get('revision')}, which cannot be loaded: {reason}") from error
