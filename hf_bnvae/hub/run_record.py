"""What a finished run knows of itself and leaves in `run.json`: its command, its versions, its machine, its texts."""

import json
import math
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from huggingface_hub import get_token

from ..data.tokenizer_pair import written_texts
from ..models.encoders import ENCODER_INPUTS
from ..models.version import __version__

RECORD_NAME = "run.json"
PACKAGES = ("torch", "transformers", "datasets", "accelerate")
SECRETS = (
    r"(//)[^\s/@']*:[^\s/@']*(?=@)",
    r"([?&](?:[\w-]*[-_])?(?:token|sig|signature|key|secret|password|credential)=)[^\s&#']+",
    r"()\bhf_[A-Za-z0-9]{30,}",
)
"""Passwords in addresses, secrets in their queries, and tokens of the Hub; what stays in front of them is a group."""
ABSOLUTE = r"(?:~|[A-Za-z]:)?[/\\](?![/\\]).*"
SAMPLES = 5
STEPS = 5


def command_line(program: str, argv: Sequence[str], processes: int = 1) -> str:
    """The command of a run as a shell reads it, without the flags that hold a token, and secrets in addresses hidden.

    Of absolute paths, which say how a machine is laid out, the last two parts are kept.

    Args:
        program: a subcommand of `hf-bnvae`, or the Python file that was run; of its path the last two parts are kept.
        argv: its flags.
        processes: how many processes trained together.
    """
    launcher = ["accelerate", "launch", "--num_processes", str(processes)]
    if program.endswith(".py"):
        called = [*(["python"] if processes == 1 else launcher), "/".join(Path(program).resolve().parts[-2:])]
    elif processes == 1:
        called = ["hf-bnvae", program]
    else:
        called = [*launcher, "-m", f"hf_bnvae.cli.{program.replace('-', '_')}"]
    return without_secrets(shlex.join([*called, *map(without_place, without_tokens(argv))]))


def without_secrets(text: str) -> str:
    """A text without the token of this machine, or what looks like one or like a password in an address."""
    token = get_token()
    if token:
        text = text.replace(token, "***")
    for pattern in SECRETS:
        text = re.sub(pattern, r"\1***", text, flags=re.IGNORECASE)
    return text


def without_place(argument: str) -> str:
    """An argument of a command with the last two parts of an absolute path alone, behind a `=` too."""
    name, equals, value = argument.rpartition("=")
    if "://" in argument or re.fullmatch(ABSOLUTE, value) is None:
        return argument
    return name + equals + "/".join(re.split(r"[/\\]", value.rstrip("/\\"))[-2:]).lstrip("/")


def without_tokens(argv: Sequence[str]) -> list[str]:
    """Flags with their values, less those whose name has the word `token` in it, such as --hub_token."""
    kept, secret = [], False
    for text in argv:
        if text.startswith("--"):
            words = text[2:].partition("=")[0].replace("-", "_").split("_")
            secret = "token" in words
        if not secret:
            kept.append(text)
    return kept


def versions() -> dict[str, str]:
    """Of hf_bnvae, of what it stands on, and of Python."""
    by_package = {"hf_bnvae": __version__}
    for package in PACKAGES:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_package | {"Python": platform.python_version()}


def hardware(args) -> str:
    """The processor that trained, how much of it, and the precision, for the arguments of a `Trainer`."""
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    if args.device.type == "cuda":
        machine = torch.cuda.get_device_name(args.device)
    else:
        threads = torch.get_num_threads()
        machine = f"{cpu_name()}, {os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''}"
    processes = f", {args.world_size} processes" if args.world_size > 1 else ""
    return f"{machine}{processes}, {precision}"


def cpu_name() -> str:
    """The model of the processor, or its architecture where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


@torch.no_grad()
def sentence_examples(
    model, tokenizer, sentences: Sequence[str], batch: Mapping[str, torch.Tensor] | None, seed: int
) -> dict:
    """What a model of sentences writes: `samples`, and of a text VAE `interpolation` and `reconstructions`.

    Args:
        sentences: to reconstruct, as text.
        batch: the same of a `data.VaeCollator`; None for no sentence.
        seed: of the draws; no other random state is touched.
    """

    def texts(tokens: torch.Tensor) -> list[str]:
        return written_texts(tokens, tokenizer)

    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if not model.config.latent_size:
            return {"samples": texts(model.sample(SAMPLES))}
        latents = model.sample_prior(SAMPLES, torch.Generator().manual_seed(seed))
        examples: dict = {
            "samples": texts(model.decode(latents)),
            "interpolation": texts(model.interpolate(latents[0], latents[1], STEPS)),
        }
        if batch is not None:
            read = {name: batch[name].to(model.device) for name in ENCODER_INPUTS if name in batch}
            rebuilt = model.decode(model.encode(**read))
            examples["reconstructions"] = [list(pair) for pair in zip(sentences, texts(rebuilt), strict=True)]
    return examples


@torch.no_grad()
def response_interpolation(model, tokenizer, batch: Mapping[str, torch.Tensor], seed: int) -> list[str]:
    """Responses along the way between two draws of the prior of one context, a batch of a `data.DialogueCollator`."""
    model.eval()
    inputs = {
        name: tensor.to(model.device) for name, tensor in batch.items() if name not in ("labels", "response_index")
    }
    noise = torch.randn(1, 2, model.config.latent_size, generator=torch.Generator().manual_seed(seed))
    start, end = model.model.prior_of(**inputs).rsample(noise=noise.to(model.device))[0]
    return written_texts(model.interpolate(start, end, STEPS, **inputs), tokenizer)


def without_nan(content: object) -> object:
    """The same with null in the place of numbers that are not finite, which JSON does not have."""
    if isinstance(content, Mapping):
        return {name: without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all, with null for numbers that are not finite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        text = json.dumps(without_nan(content), indent=2, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
