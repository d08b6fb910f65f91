"""Publish the folder of a finished run on the Hugging Face Hub, in one commit."""

import errno
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session, get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id
from transformers.dynamic_module_utils import get_relative_import_files

from ..data.errors import first_line
from ..data.tokenizer_pair import SUBFOLDER
from ..training.checkpoints import is_whole
from .cards import CARD_NAME, PICTURE_NAME, STATE_NAME, CardError, has_own_card

TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)
PUBLISHED = (
    "README.md",
    PICTURE_NAME,
    "LICENSE*",
    "config.json",
    "generation_config.json",
    *TOKENIZER,
    *(f"{SUBFOLDER}/{name}" for name in TOKENIZER),
    "all_results.json",
    "run.json",
    "figures/*.png",
    "figures/*.svg",
)
"""The files of a run that are published with its weights and its code. Other files of the folder are not."""

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")
BESIDE_WEIGHTS = (
    *(name for name in TOKENIZER if name != "*.model"),  # which may be anything
    *(f"{SUBFOLDER}/{name}" for name in TOKENIZER),
    "generation_config.json",
    "all_results.json",
    "run.json",
    PICTURE_NAME,
)
"""What stands of an earlier model in a folder or a repository beside its weights, and must not beside the next one's.

No README.md, which somebody may have written.
"""

PATIENCE = 120.0
"""Seconds without a word from the Hub after which a connection counts as broken; the client itself waits for ever."""

T = TypeVar("T")


class HubError(RuntimeError):
    """A model that could not be published: one sentence with the remedy. It never holds a token."""


@dataclass(frozen=True)
class Published:
    """A model that stands on the Hub: its address, its number of files, and their size in bytes."""

    url: str
    files: int
    size: int

    def __str__(self) -> str:
        return f"{self.url} ({self.files} files, {self.size / 1e6:.1f} MB)"


def publish(
    folder: str | Path,
    repo_id: str,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> Published:
    """Upload the folder of a finished run: weights, configuration, code, tokenizer, card, results, figures.

    Nothing else leaves the folder (`PUBLISHED`): no data, no logs, no checkpoints, not `trainer_state.json` with its
    paths, and not `samples.md`, which quotes the data at length. All files arrive in one commit or none does. What the
    Hub holds already is not sent again, and weights, tokenizers and results that an earlier model left there go. The
    folder is only read.

    Args:
        folder: where `config.json` and the weights are.
        repo_id: USER/NAME. The repository is made where there is none.
        private: True makes a private repository, and refuses a public one; by default what the account's settings say.
        token: by default `HF_TOKEN`, or the saved login.
        revision: a branch, which is made where there is none; by default `main`.
        commit_message: by default one that names the package.

    Returns:
        The address of the model, and how much stands there.

    Raises:
        HubError: it was not published, with the reason and what to do. The folder is as it was, and the same call again
            finishes the job.
    """
    folder = Path(folder)
    files: dict[str, Path | bytes] = {path.relative_to(folder).as_posix(): path for path in files_to_publish(folder)}
    files["config.json"] = without_local_names(folder / "config.json")
    earlier = (*WEIGHTS, *BESIDE_WEIGHTS)
    return upload(
        files, lambda name: matches(name, earlier), repo_id, "model", private, token, revision, commit_message
    )


def upload(
    files: Mapping[str, Path | bytes],
    owned: Callable[[str], bool],
    repo_id: str,
    repo_type: str,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> Published:
    """Upload files in one commit.

    Args:
        files: by their names in the repository, or what is in them.
        owned: whether a name belongs to what is uploaded; such files that the repository holds beside `files` go.
        repo_type: "model" or "space".
        repo_id, private, token, revision, commit_message: as for `publish`.

    Raises:
        HubError: they were not uploaded, with the reason and what to do.
    """
    size = sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in files.values())

    def commit(api: HfApi) -> Published:
        _make_repository(api, repo_id, private, repo_type)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        there = api.list_repo_files(repo_id, revision=revision, repo_type=repo_type)
        stale = [name for name in there if name not in files and owned(name)]
        api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(name, file) for name, file in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=commit_message or "Upload with hf_bnvae",
            revision=revision,
            repo_type=repo_type,
        )
        path = f"spaces/{repo_id}" if repo_type == "space" else repo_id
        url = f"{_address(api)}/{path}" + (f"/tree/{revision}" if revision else "")
        return Published(url, len(files), size)

    return _on_the_hub(commit, repo_id, token)


def make_repository(repo_id: str, private: bool | None = None, token: str | None = None) -> None:
    """Make the repository of a model where there is none, and see that it can be written to.

    Args:
        repo_id, private, token: as for `publish`.

    Raises:
        HubError: `publish` would fail, with the reason and what to do.
    """
    _on_the_hub(lambda api: _make_repository(api, repo_id, private, "model"), repo_id, token)


def files_to_publish(folder: Path) -> list[Path]:
    """The files of a model's folder that `publish` uploads, sorted.

    Of modules it takes those that the configuration names, with what they import, and of pictures that of the training
    and the folder `figures`.

    Raises:
        HubError: the folder holds no whole model, with what is missing or cut off, or no tokenizer, or a link to a file
            elsewhere, or reads weights that only this machine has.
    """
    if not folder.is_dir():
        raise HubError(f"{folder} is no folder: name the folder of a finished run")
    weights = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    needed = {"config.json", weights.name}
    if index.is_file() and not weights.is_file():
        try:
            needed = {"config.json", *json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise HubError(f"{index} cannot be read ({first_line(error)}): save the model again") from error
    missing = sorted(name for name in needed if not (folder / name).is_file())
    if missing:
        raise HubError(f"{folder} holds no whole model, {' and '.join(missing)} missing: name that of a finished run")
    broken = sorted(name for name in needed - {"config.json"} if not is_whole(folder / name))
    if broken:
        raise HubError(f"{' and '.join(broken)} in {folder} cannot be read or is cut off: save or copy the model again")
    _refuse_bases_of_this_machine(folder / "config.json")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise HubError(f"{folder} holds no tokenizer, without which nobody can use the model: save its tokenizer there")
    if weights.name not in needed:
        needed.add(index.name)
    needed |= code_of(folder)
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if (name := path.relative_to(folder).as_posix()) in needed or (matches(name, PUBLISHED) and path.is_file())
    ]
    outside = [path for path in files if leads_outside(path, folder)]
    if outside:
        raise HubError(f"{outside[0]} is a link to a file outside {folder}: put the file itself there, or take it away")
    return files


def code_of(folder: Path) -> set[str]:
    """The modules in a model's folder that its configuration names, and those that they import.

    Raises:
        HubError: one that is imported is not there.
    """
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {}).values()
    except (OSError, ValueError, AttributeError):
        return set()
    modules = {folder / f"{reference.partition('.')[0]}.py" for reference in named}
    try:
        imported = {name for path in modules if path.is_file() for name in get_relative_import_files(path)}
    except OSError as error:
        raise HubError(
            f"{error.filename} is missing, which the code beside it imports: save the model again"
        ) from error
    return {path.name for path in modules if path.is_file()} | {Path(name).name for name in imported}


def leads_outside(path: Path, folder: Path) -> bool:
    """Whether a file in a folder is a link to elsewhere. A model in the Hub's cache has its files beside its folder."""
    home = folder.resolve()
    places = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    return not any(path.resolve().is_relative_to(place) for place in places)


def _refuse_bases_of_this_machine(file: Path) -> None:
    """Refuse a configuration by which weights are read from a folder."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        bases = {part: config.get(f"{part}_base") or {} for part in ("encoder", "decoder")}
    except (OSError, ValueError, AttributeError):
        return
    for part, base in bases.items():
        if "digest" in base or ("revision" not in base and is_local(base.get("name"))):
            raise HubError(
                f"the model in {file.parent} reads the weights of its {part} from the folder {base['name']}, which "
                "nobody else has: save it with these weights (`save_base` true)"
            )


def is_local(name: str | None) -> bool:
    """Whether a name is the path of a folder, and no name on the Hub."""
    if not name:
        return False
    return name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1 or Path(name).is_dir()


def without_local_names(file: Path) -> bytes:
    """A config.json without the paths of the folders that parts of the model came from, which nothing reads."""

    def cleaned(part: dict) -> dict:
        return {key: value for key, value in part.items() if key != "_name_or_path" or not is_local(value)}

    content = file.read_bytes()
    with suppress(ValueError):
        config = json.loads(content, object_hook=cleaned)
        if config != json.loads(content):
            return f"{json.dumps(config, indent=2, sort_keys=True)}\n".encode()
    return content


def remove_earlier(folder: Path) -> None:
    """Take away what an earlier model left beside its weights in a folder, and its card unless it was changed by hand.

    What nobody here wrote stays, as do the weights, which the next model replaces, and results that no model stands
    beside: a training has left them for the one that is saved next.
    """
    if not (folder / "config.json").is_file():
        return
    with suppress(CardError):
        if has_own_card(folder):
            (folder / CARD_NAME).unlink()
    for path in [path for pattern in (*BESIDE_WEIGHTS, STATE_NAME) for path in folder.glob(pattern)]:
        path.unlink()


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path fits one of the patterns, whose `*` stands for no slash."""
    return any(name.count("/") == pattern.count("/") and fnmatch(name, pattern) for pattern in patterns)


def _make_repository(api: HfApi, repo_id: str, private: bool | None, repo_type: str) -> None:
    sdk = "gradio" if repo_type == "space" else None
    api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
    api.auth_check(repo_id, repo_type=repo_type, write=True)
    if private and not api.repo_info(repo_id, repo_type=repo_type).private:
        path = f"spaces/{repo_id}" if repo_type == "space" else repo_id
        raise HubError(
            f"{repo_id} was to be private, and exists already as a public {repo_type}: make it private at "
            f"{_address(api)}/{path}/settings, or choose another name"
        )


def _address(api: HfApi) -> str:
    """The Hub's address without the user and password that it may hold."""
    return re.sub("//[^/@]*@", "//", api.endpoint)


def _on_the_hub(work: Callable[[HfApi], T], repo_id: str, token: str | None) -> T:
    """Do what needs the Hub; every failure becomes a `HubError`."""
    if is_offline_mode():
        raise HubError("HF_HUB_OFFLINE is set, which forbids to publish: unset it and try again")
    try:
        validate_repo_id(repo_id)
        named = repo_id.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise HubError(f"{repo_id!r} cannot name a model: write USER/NAME, of letters, digits, '-', '_' and '.'")
    try:
        token = token or get_token()
        if not token:
            problem = "there is no token: set HF_TOKEN to one with write access, or run `hf auth login`"
        elif not (token.isascii() and token.isprintable()):
            problem = "the token holds characters that belong to no token: copy it once more into HF_TOKEN"
        else:
            return _with_patience(lambda: work(HfApi(token=token)))
    except HubError:
        raise
    except Exception as error:
        problem = _explain(error, repo_id)
        if token:
            problem = problem.replace(token, "***")
    # Raised out here, where no exception is being handled: those of HTTP hold the request with its token.
    raise HubError(problem)


def _with_patience(work: Callable[[], T]) -> T:
    """Do something with a client that waits for `PATIENCE` at most."""
    client = get_session()
    before, client.timeout = client.timeout, PATIENCE
    try:
        return work()
    finally:
        client.timeout = before


def _explain(error: BaseException | None, repo_id: str) -> str:
    """What went wrong and what to do, in one sentence, of an exception or of what caused it."""
    endpoint = _address(HfApi())
    words = " ".join(str(error).split())
    if words.startswith("Invalid metadata in README.md"):
        return f"the Hub refuses the model card ({words}): mend the head of README.md and try again"
    unknown = f"{repo_id} could not be published ({type(error).__name__}: {words}): try again"
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return _explain_status(error, repo_id, endpoint)
        if isinstance(error, json.JSONDecodeError):
            return f"what answers at {endpoint} is not the Hub, or in trouble: check HF_ENDPOINT, or try again later"
        if isinstance(error, HTTPError | ConnectionError | TimeoutError):
            return (
                f"the connection to {endpoint} failed or broke ({first_line(error)}): check the network and try "
                "again; what has arrived is not sent again"
            )
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk is full ({first_line(error)}): free some space and try again"
        if isinstance(error, OSError) and error.filename:
            return f"{error.filename} cannot be read ({error.strerror}): mend that and try again"
        error = error.__cause__
    return unknown


def _explain_status(error: HfHubHTTPError, repo_id: str, endpoint: str) -> str:
    status = error.response.status_code
    renew = f"HF_TOKEN, or by `hf auth login`; {endpoint}/settings/tokens makes one"
    said = f" ({shorten(error.server_message, 300)})" if error.server_message else ""
    if status == 401:
        return (
            f"{endpoint} does not accept the token, which is wrong, expired or revoked: give one with write access by "
            f"{renew}"
        )
    if status == 403:
        return (
            f"the token may not write to {repo_id}{said}: give one with write access, of {repo_id.split('/')[0]} or a "
            f"member, by {renew}"
        )
    if status == 404:
        return f"{endpoint} has nothing at {repo_id} that the token may see{said}: check the name and try again"
    if status in (409, 412):
        return f"somebody else changed {repo_id} at the same time{said}: look at what is there and try again"
    if status == 429:
        return f"{endpoint} had too many requests from you{said}: try again in some minutes"
    if status >= 500:
        return (
            f"{endpoint} is in trouble (HTTP {status}){said}: try again in some minutes; what has arrived is not sent "
            "again"
        )
    return f"{endpoint} refused the model (HTTP {status}){said}: mend that and try again"
