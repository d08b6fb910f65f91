"""The model card of a run, written from its folder alone, so that it can be written again later."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import validate_repo_id
from jinja2 import Environment, StrictUndefined, UndefinedError
from transformers import AutoConfig, PreTrainedConfig

from ..analysis.case_study import escaped_markdown
from ..analysis.comparison import Run, draw_dynamics
from ..data.errors import first_line
from .card_metrics import CARD_METRICS, SPLITS, Metric, shown_number
from .card_sentences import base_models, describe_model, diagnose
from .model_kinds import CLASSIFIER, WHOLE, auto_class_of, has_decoder, has_two_tokenizers, pipeline_tag_of
from .run_record import RECORD_NAME

TEMPLATE = Path(__file__).with_name("card_template.md")
CARD_NAME = "README.md"
PICTURE_NAME = "training.png"
STATE_NAME = "trainer_state.json"
RECORD_FIELDS = ("title", "command", "license", "versions", "hardware", "notes")
DATA_FIELDS = ("name", "hub_id", "license")
CORPUS_SPLITS = ("train", "validation", "test")
LOADED = r'from_pretrained\(("[^"]*")(?:, revision=("[^"]*"))?'
"""What the code of a card loads, and the revision of it."""
EXAMPLES = ("split", "samples", "reconstructions", "responses", "interpolation")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
COUNTS = (
    "sentences",
    "nll_sentences",
    "nll_samples",
    "nll_samples_used",
    "nll_tolerance",
    "reconstruction_sentences",
    "prior_samples",
    "response_contexts",
    "responses",
)
SIZE_FIELDS = (
    "vocab_size",
    "embedding_size",
    "utterance_hidden_size",
    "context_hidden_size",
    "hidden_size",
    "latent_size",
    "context_turns",
)


class CardError(ValueError):
    """A folder from which no card can be written: one sentence that names what is missing."""


TRAINING = {
    "train_loss": "mean training loss",
    "train_runtime": "seconds, everything included",
    "train_seconds_without_evaluation": "seconds of training alone",
    "train_evaluation_seconds": "seconds of evaluations",
    "train_statistics_seconds": "seconds of batch-norm statistics",
    "train_last_statistics_seconds": "seconds of the final statistics",
    "train_tokens_per_second": "tokens per second of training",
    "train_steps": "steps",
    "train_epochs": "epochs",
    "train_tokens": "tokens",
    "world_size": "processes",
}


def write_card(
    folder: str | Path,
    repo_id: str | None = None,
    output: str | Path | None = None,
    config: PreTrainedConfig | None = None,
    revision: str | None = None,
) -> Path:
    """Write the model card of a finished run, and where matplotlib is installed the picture of its training.

    Args:
        folder: holds `config.json`, and what else a run leaves: `all_results.json`, `run.json`, `trainer_state.json`.
            The card says what these say, and goes without what is not there.
        repo_id: where the model is on the Hub, `USER/NAME`; by default the card loads it from the folder's name.
        output: by default `README.md` in the folder. The picture stands beside it.
        config: of a model that is saved in the folder next; by default the folder's `config.json`.
        revision: the branch of the Hub's repository that the card loads; that of a pull request (`refs/pr/1`) ends as
            `main`, and is not named.

    Returns:
        The path of the card.

    Raises:
        CardError: for a folder without a model's configuration or with files that no run wrote, for a `repo_id` that
            the Hub would not take, or an `output` that is a folder.
    """
    folder = Path(folder)
    saved_next = config is not None
    config = config_of_run(folder) if config is None else config
    if repo_id is not None:
        try:
            validate_repo_id(repo_id)
        except ValueError as error:
            raise CardError(f"{repo_id!r} is no name of a repository: USER/NAME") from error
    output = folder / CARD_NAME if output is None else Path(output)
    if output.is_dir():
        raise CardError(f"{output} is a folder: name the file of the card")
    output.parent.mkdir(parents=True, exist_ok=True)
    picture = output.with_name(PICTURE_NAME if output.name == CARD_NAME else f"{output.stem}_{PICTURE_NAME}")
    with _refused(folder):
        if config.latent_size:
            draw_training_curves(folder, picture)
        picture_name = picture.name if picture.is_file() else None
        place = folder.resolve().name if repo_id is None else repo_id
        make_card(folder, config, place, picture_name, saved_next, named_revision(revision)).save(output)
    return output


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """What goes wrong over the contents of a run's files as one sentence."""
    try:
        yield
    except CardError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UndefinedError) as error:
        raise CardError(
            f"the JSON files in {folder} hold what no run writes ({type(error).__name__}: {first_line(error)}): mend "
            "them, or run again"
        ) from error


def name_repository(folder: str | Path, repo_id: str, revision: str | None = None) -> bool:
    """Let the card of a run load the model from its place on the Hub, unless somebody has changed the card by hand.

    Args:
        revision: the branch there, as for `write_card`.

    Returns:
        Whether the card was written.

    Raises:
        CardError: as `write_card`.
    """
    folder = Path(folder)
    if (folder / CARD_NAME).is_file() and not has_own_card(folder):
        return False
    write_card(folder, repo_id, revision=revision)
    return True


def has_own_card(folder: Path) -> bool:
    """Whether the card in a run's folder is the one that its files give, under any name that the folder ever had.

    Raises:
        CardError: as `write_card`.
    """
    card = folder / CARD_NAME
    if not card.is_file():
        return False
    text = card.read_text(encoding="utf-8", errors="replace")
    loaded = re.search(LOADED, text)
    try:
        place, revision = (json.loads(part or "null") for part in loaded.groups()) if loaded else (None, None)
    except ValueError:
        place = None
    if place is None:
        return False
    picture = PICTURE_NAME if (folder / PICTURE_NAME).is_file() else None
    with _refused(folder):
        untouched = make_card(folder, config_of_run(folder), place, picture, revision=revision)
    return text.split() == str(untouched).split()


def named_revision(revision: str | None) -> str | None:
    """The revision that a card names: none for `main`, where a pull request ends as well."""
    return None if revision == "main" or (revision or "").startswith("refs/") else revision


def config_of_run(folder: Path) -> PreTrainedConfig:
    """The configuration of the model in a run's folder."""
    if not (folder / "config.json").is_file():
        raise CardError(f"{folder} holds no config.json: name the folder of a finished run")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise CardError(f"{folder / 'config.json'} is no configuration of a model ({first_line(error)})") from error
    if config.model_type not in WHOLE:
        raise CardError(f"{folder} holds a {config.model_type} model, and cards are of {', '.join(WHOLE)}")
    return config


def make_card(
    folder: Path,
    config: PreTrainedConfig,
    place: str,
    picture: str | None,
    saved_next: bool = False,
    revision: str | None = None,
) -> ModelCard:
    """The card of a run's folder; `picture` is the name of a file beside it.

    Args:
        place: what the card loads: the name of the folder, or USER/NAME on the Hub.
        saved_next: the weights are not in the folder yet, and will be.
        revision: what the card loads of a place on the Hub, if it is not `main`.
    """
    results, record = _read(folder / "all_results.json"), _read(folder / RECORD_NAME)
    data = record.get("data", {})
    name = place.rpartition("/")[2]
    template = _environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    unit = "response" if config.model_type == "bncvae" else "sentence"
    prefixes = [prefix for prefix in SPLITS if _metrics(results, prefix)]
    content = template.render(
        card_data=card_data(config, results, record, name).to_yaml(),
        config=config,
        record=dict.fromkeys(RECORD_FIELDS) | record,
        data=dict.fromkeys(DATA_FIELDS) | data,
        reports=[(split, data["splits"][split]) for split in CORPUS_SPLITS if split in data.get("splits", {})],
        examples=dict.fromkeys(EXAMPLES) | record["examples"] if record.get("examples") else {},
        results=results,
        name=name,
        place=place if "/" in place or saved_next or any((folder / name).is_file() for name in WEIGHTS) else None,
        revision=revision,
        picture=picture,
        unit=unit,
        description=describe_model(config, results, record, unit),
        diagnosis=diagnose(config, results, prefixes),
        splits=[SPLITS[prefix] for prefix in prefixes],
        rows=metric_rows(results, prefixes, unit),
        judged=[judged_on(results, prefix, unit, config) for prefix in prefixes],
        training=training_rows(results, unit),
        sizes=[(size, getattr(config, size)) for size in SIZE_FIELDS if getattr(config, size, 0)],
        auto_class=auto_class_of(config),
        has_decoder=has_decoder(config),
        is_classifier=auto_class_of(config) == CLASSIFIER,
        has_two_tokenizers=has_two_tokenizers(config),
    )
    return ModelCard(content)


def card_data(config: PreTrainedConfig, results: dict, record: dict, name: str) -> ModelCardData:
    """The metadata, with every metric of the results that is a finite number."""
    data = record.get("data", {})
    task = "text-classification" if auto_class_of(config) == CLASSIFIER else "text-generation"
    entries = eval_results(results, data, task)
    hub_id = data.get("hub_id")
    bases = base_models(config, record)
    languages = record.get("language") or []
    # The Hub takes codes of ISO 639 as languages, and others, such as pt-BR, beside them.
    regional = [code for code in languages if "-" in code]
    beside: dict = {"language_bcp47": regional} if regional else {}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline_tag_of(config),
        license=record.get("license"),
        language=list(dict.fromkeys(code.partition("-")[0] for code in languages)) or None,
        datasets=[hub_id] if hub_id else None,
        base_model=bases[0] if len(bases) == 1 else bases or None,
        tags=["hf_bnvae", config.model_type, *([record["method"]] if "method" in record else [])],
        model_name=name if entries else None,
        eval_results=entries or None,
        **beside,
    )


def eval_results(results: dict, data: dict, task: str) -> list[EvalResult]:
    """Every metric of every split in a task, but those that are not finite."""
    name = data.get("name") or "unknown"
    entries = []
    for prefix, split in SPLITS.items():
        counts = {count: results.get(f"{prefix}_{count}") for count in COUNTS}
        by_samples = {"samples": counts["nll_samples"], "sentences": counts["nll_sentences"]}
        if counts["nll_tolerance"] is not None:
            by_samples["tolerance"] = counts["nll_tolerance"]
        by_responses = {"responses": counts["responses"], "contexts": counts["response_contexts"]}
        by_vectors = by_responses | {"word_vectors": results.get(f"{prefix}_word_vectors")}
        for metric, value in _metrics(results, prefix).items():
            if not math.isfinite(value):
                continue
            shown = CARD_METRICS.get(metric, Metric(metric))
            arguments: dict | None = None
            if metric in ("nll", "ppl", "word_ppl"):
                arguments = by_samples
            elif metric.startswith(("abow", "ebow")):
                arguments = by_vectors
            elif metric.startswith(("bleu", "distinct", "within_distinct", "average_length")):
                arguments = by_responses
            entries.append(
                EvalResult(
                    task_type=task,
                    dataset_type=data.get("hub_id") or name,
                    dataset_name=name,
                    dataset_split=split,
                    dataset_args={"sentences": counts["sentences"]} if counts["sentences"] is not None else None,
                    metric_type=metric,
                    metric_value=value,
                    metric_name=f"{shown.label} ({shown.unit})" if shown.unit else shown.label,
                    metric_args={key: item for key, item in (arguments or {}).items() if item is not None} or None,
                )
            )
    return entries


def metric_rows(results: dict, prefixes: list[str], unit: str) -> list[list[str]]:
    """A row for every metric: its label, what it means, its unit, and its value on each split."""
    judged = {prefix: _metrics(results, prefix) for prefix in prefixes}
    present = {metric for metrics in judged.values() for metric in metrics}
    order = [metric for metric in CARD_METRICS if metric in present] + sorted(present - CARD_METRICS.keys())
    rows = []
    for metric in order:
        shown = CARD_METRICS.get(metric, Metric(escaped_markdown(metric)))
        values = [shown_number(judged[prefix][metric]) if metric in judged[prefix] else "–" for prefix in prefixes]
        rows.append([shown.label, shown.meaning, f"nats per {unit}" if shown.unit == "nats" else shown.unit, *values])
    return rows


def judged_on(results: dict, prefix: str, unit: str, config: PreTrainedConfig) -> str:
    """In one sentence, how many sentences a split has, and how its NLL and its responses were evaluated."""
    count = {name: results.get(f"{prefix}_{name}") for name in COUNTS}
    parts = [f"{count['sentences']:,} {unit}s" if count["sentences"] is not None else f"an unknown number of {unit}s"]
    if count["nll_samples"] is not None:
        samples = f"K = {count['nll_samples']:,} samples" if config.latent_size else "no latent to sum over"
        if config.latent_size and count["nll_tolerance"] is not None:
            used = f"{count['nll_samples_used']:,.0f} in the mean, fewer where the standard error of a {unit}'s bound"
            samples = f"at most {samples} ({used} is below {count['nll_tolerance']:g} nats)"
        parts.append(f"the NLL with {samples} on {count['nll_sentences']:,} of them")
    if count["reconstruction_sentences"] is not None:
        parts.append(f"reconstructions of {count['reconstruction_sentences']:,} of them, greedy")
    if count["prior_samples"] is not None:
        judge = escaped_markdown(str(results.get(f"{prefix}_language_model", "a language model")))
        parts.append(f"the perplexity of {count['prior_samples']:,} draws of the prior under {judge}")
    if count["responses"] is not None:
        parts.append(f"{count['responses']:,} sampled responses to each of {count['response_contexts']:,} contexts")
    if f"{prefix}_word_vectors" in results:
        parts.append(f"word vectors {escaped_markdown(str(results[f'{prefix}_word_vectors']))}")
    return f"{SPLITS[prefix].capitalize()} split: {'; '.join(parts)}."


def training_rows(results: dict, unit: str) -> list[tuple[str, str]]:
    """What the results say of the training itself."""
    labels = {"train_sentences": f"{unit}s"} | TRAINING
    return [(label, shown_number(results[key])) for key, label in labels.items() if key in results]


def draw_training_curves(folder: Path, path: Path) -> None:
    """Draw the evaluations during training, if there were any and matplotlib is installed."""
    lines = _read(folder / STATE_NAME).get("log_history", [])
    history = [line for line in lines if "train_seconds" in line and "eval_kl" in line]  # of the first evaluation set
    if history and find_spec("matplotlib") is not None:
        draw_dynamics([Run(folder.resolve().name, 0, {}, 0.0, history)], path)


def fenced(text: str, language: str = "") -> str:
    """A block of code, whatever backticks are in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _environment() -> Environment:
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters |= {"text": _shown_text, "fenced": fenced, "json": json.dumps}
    return environment


def _shown_text(text: object) -> str:
    return escaped_markdown(str(text)) or "*(nothing)*"


def _metrics(results: dict, prefix: str) -> dict[str, float]:
    """The metrics of a split by their names, without the counts of what was evaluated."""
    return {
        key.removeprefix(f"{prefix}_"): value
        for key, value in results.items()
        if key.startswith(f"{prefix}_")
        and key.removeprefix(f"{prefix}_") not in COUNTS
        and isinstance(value, (int, float))
    }


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CardError(f"{path} cannot be read ({first_line(error)}): take it away, or run again") from error
    if not isinstance(content, dict):
        raise CardError(f"{path} holds no names with values: take it away, or run again")
    return content
