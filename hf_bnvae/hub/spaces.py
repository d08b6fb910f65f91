"""A Space on the Hugging Face Hub: the page of `analysis.page` on trained models, complete in itself."""

import json
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from ..data.tokenizer_pair import SUBFOLDER
from .publishing import TOKENIZER, WEIGHTS, HubError, Published, files_to_publish, matches, upload, without_local_names

PACKAGE = Path(__file__).parents[1]
CARRIED = (
    "config.json",
    "generation_config.json",
    *TOKENIZER,
    *(f"{SUBFOLDER}/{name}" for name in TOKENIZER),
    *WEIGHTS,
)
"""What of a run its Space needs: weights and tokenizer. The code that loads them is the package's own."""

SOURCE = (".py", ".html", ".md")
"""What this package is made of."""

OWNED = ("hf_bnvae", "models", "sentences.txt")
"""Folders and files of a Space that may hold nothing of an earlier version."""

OLDEST_GRADIO = "6.31.0"
APP = '''"""The page of README.md: python app.py serves it on this machine, and the Hub to everybody."""

import os
from pathlib import Path

from hf_bnvae import TextVaePipeline
from hf_bnvae.analysis.page import Explorer, build_page, serve

HERE = Path(__file__).parent
MODELS = {names}


def load(name, texts):
    return Explorer.of(TextVaePipeline.from_pretrained(str(HERE / "models" / name), device="cpu"), name, texts)


def main():
    sentences = HERE / "sentences.txt"
    texts = sentences.read_text(encoding="utf-8").split("\\n") if sentences.is_file() else []
    page = build_page([load(name, texts) for name in MODELS])
    serve(page, *(("0.0.0.0", 7860) if "SPACE_ID" in os.environ else ()))


if __name__ == "__main__":
    main()
'''
README = """---
{head}---

# {title}

Type a sentence and see what the model makes of it, move its latent dimensions, walk from one sentence to another, and
draw samples from the prior. {models} made by
hf_bnvae (BN-VAE: Zhu et al., ACL 2020), whose code is in `hf_bnvae/`. {map}
"""


def write_space(folders: Sequence[str | Path], output: str | Path, title: str, sentences: Sequence[str] = ()) -> Path:
    """Write the folder of a Space: `app.py`, `requirements.txt`, `README.md`, this package, and the models.

    Args:
        folders: of finished runs of text VAEs, shown side by side.
        output: a folder that is empty or not there yet.
        sentences: those on the map, which everybody can then read; without any the models speak for themselves.

    Returns:
        The folder.

    Raises:
        HubError: a folder holds no whole text VAE, or `output` holds something.
    """
    output = Path(output)
    models = {model_name(folder): Path(folder) for folder in folders}
    files = {name: model_files(folder) for name, folder in models.items()}
    if len(models) < len(folders):
        raise HubError(f"two folders have the same name ({', '.join(models)}): rename one")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise HubError(f"{output} holds something already: name an empty folder for the Space")
    copies = {
        Path("models", name, path.relative_to(folder)): path for name, folder in models.items() for path in files[name]
    }
    source = (path for path in PACKAGE.rglob("*") if path.suffix in SOURCE)
    copies |= {Path("hf_bnvae", path.relative_to(PACKAGE)): path for path in source}
    for name, path in copies.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, output / name)
        if name.name == "config.json":
            (output / name).write_bytes(without_local_names(path))
    extras = ["lora"] if any(map(has_adapters, models.values())) else []
    texts = {
        "app.py": APP.replace("{names}", repr(list(models))),
        "requirements.txt": "".join(f"{line}\n" for line in requirements(extras)),
        "README.md": _readme(title, list(models), bool(sentences)),
    }
    if sentences:
        texts["sentences.txt"] = "\n".join(" ".join(text.split()) for text in sentences)
    for file_name, text in texts.items():
        (output / file_name).write_text(text, encoding="utf-8")
    return output


def publish_space(
    folders: Sequence[str | Path],
    repo_id: str,
    sentences: Sequence[str] = (),
    private: bool | None = None,
    token: str | None = None,
    commit_message: str | None = None,
) -> Published:
    """Upload `write_space` of trained models in one commit. What an earlier version left in the Space goes.

    Args:
        folders, sentences: as for `write_space`.
        repo_id, private, token, commit_message: as for `publish`.

    Raises:
        HubError: it was not published, with the reason and what to do; the same call again finishes the job.
    """
    with TemporaryDirectory() as temporary:
        folder = write_space(folders, Path(temporary) / "space", repo_id.split("/")[-1], sentences)
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return upload(
            files,
            lambda name: name.split("/")[0] in OWNED,
            repo_id,
            "space",
            private,
            token,
            commit_message=commit_message,
        )


def model_name(folder: str | Path) -> str:
    """The name of a folder, of letters, digits, '-', '_' and '.'."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(folder).resolve().name).lstrip(".") or "model"


def model_files(folder: Path) -> list[Path]:
    """The files of a finished run that its Space needs.

    Raises:
        HubError: it holds no whole text VAE.
    """
    files = [path for path in files_to_publish(folder) if matches(path.relative_to(folder).as_posix(), CARRIED)]
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, reads = config.get("model_type"), config.get("encoder")
        saved = config.get("architectures") or [None]
    except (ValueError, AttributeError) as error:
        raise HubError(f"{folder / 'config.json'} is no configuration: name the folder of a finished run") from error
    if kind != "bnvae":
        raise HubError(f"{folder} is a {kind} model, and a Space shows text VAEs (bnvae): name another folder")
    if saved[0] in ("BnVaeModel", "BnVaeForSequenceClassification"):
        raise HubError(f"{folder} is a {saved[0]}, and a Space shows whole text VAEs, which write: name another folder")
    if reads == "given":
        raise HubError(f"{folder} reads embeddings, and in a Space people type sentences: name another folder")
    if not (folder / "tokenizer.json").is_file():
        raise HubError(f"{folder} has no tokenizer.json, without which nobody can type a sentence: save the tokenizer")
    return files


def has_adapters(folder: Path) -> bool:
    """Whether the adapters of a model stand apart from its weights."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("decoder_lora") is not None


def requirements(extras: Sequence[str] = ()) -> list[str]:
    """What this package and some of its extras need beside Gradio, which a Space installs by itself."""
    try:
        needed = requires("hf-bnvae") or []
    except PackageNotFoundError as error:
        raise HubError("hf_bnvae is not installed, so what it needs is not known: pip install -e .") from error
    split = ((line, *line.replace("'", '"').partition(";")) for line in needed)
    wanted = [f'extra == "{extra}"' for extra in extras]
    return [
        name.strip() if "extra ==" in marker else line
        for line, name, _, marker in split
        if "extra ==" not in marker or marker.strip() in wanted
    ]


def _readme(title: str, names: list[str], own_sentences: bool) -> str:
    try:
        gradio = version("gradio")
    except PackageNotFoundError:
        gradio = OLDEST_GRADIO
    head = {
        "title": title,
        "sdk": "gradio",
        "sdk_version": gradio,
        "app_file": "app.py",
        "short_description": "Look inside a text VAE",
        "tags": ["bnvae", "text-vae"],
    }
    return (
        README.replace("{head}", yaml.safe_dump(head, sort_keys=False))
        .replace("{title}", title)
        .replace("{models}", f"The model {names[0]} was" if len(names) == 1 else f"The models {', '.join(names)} were")
        .replace("{map}", "" if own_sentences else "The sentences on the map are samples of the model.")
    )
