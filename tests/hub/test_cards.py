"""Model cards: nothing of a run is lost in them, nothing secret is in them, and no text of the data breaks the page."""

import json
import math
import re
import shlex
import shutil
from itertools import pairwise

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt
from transformers import BertConfig

from hf_bnvae import (
    BnCvaeConfig,
    BnCvaeModel,
    BnVaeConfig,
    BnVaeForSequenceClassification,
    BnVaeModel,
    LstmLMConfig,
)
from hf_bnvae.cli import card as write_card_script
from hf_bnvae.cli import dialogue, train
from hf_bnvae.cli.errors import UsageError, flags_named
from hf_bnvae.cli.yaml_file import all_flags
from hf_bnvae.data import build_tokenizer
from hf_bnvae.hub import CardError, ModelCardCallback, cards, name_repository, write_card
from hf_bnvae.hub.cards import COUNTS
from hf_bnvae.hub.run_record import command_line, versions
from hf_bnvae.runs.card_arguments import CardArguments
from hf_bnvae.runs.responses import RESPONSES_SHOWN
from tests.conftest import ROOT
from tests.helpers import flags

SPLITS = {"eval": "validation", "test": "test"}
NASTY = (
    "a | b",
    "---",
    "- - -",
    "# heading",
    "> quote",
    "1. one",
    "``` code",
    "code\n```\nno code",
    "`x` ~~y~~ *z* _w_ $u$",
    "<script>alert(1)</script>",
    "&lt; <!-- -->",
    "two\nlines\n\n---\n",
    "[link](javascript:x) ![picture](y)",
    "{{ card_data }} {% if %}",
    "\\| \\",
    "a: b\n- c: !!python/object",
    "",
)
SECRET = "hf_secret"
RESULTS = {
    "eval_elbo": 44.5,
    "eval_kl": 7.9,
    "test_kl": 7.8,
    "test_mi": 5.0,
    "test_au": 4,
    "test_nll": 41.0,
    "test_nll_samples": 500,
    "test_nll_sentences": 100,
    "test_ppl": 50.25,
    "test_sentences": 200,
    "test_something_new": 0.125,
    "train_sentences": 1000,
    "train_epochs": 3.0,
    "seed": 7,
}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """The folder of a finished run of run_lm.py."""
    folder = tmp_path_factory.mktemp("sentences")
    words = [*"abcdefghijklmno"]
    for name, count in (("train", 80), ("valid", 20), ("test", 20)):
        lines = [" ".join(words[(row * 7 + place) % 15] for place in range(3 + row % 6)) for row in range(count)]
        (folder / f"{name}.txt").write_text("\n".join([*lines, "", ""]))
    terms = {"data_license": "CC0-1.0 | of <ann>", "license": "apache-2.0"}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_TOKEN", SECRET)
        train.main(flags(folder, folder / "out", seed=3, **terms))
    return folder / "out"


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory):
    """The folder of a finished run of run_dialogue.py, its flags in a YAML file."""
    folder = tmp_path_factory.mktemp("dialogues")
    settings = {
        "dataset_name": "toy_dialogues",
        "max_train_samples": 10,
        "max_eval_samples": 2,
        "embedding_size": 6,
        "utterance_hidden_size": 5,
        "context_hidden_size": 6,
        "hidden_size": 8,
        "latent_size": 3,
        "prior_hidden_size": 4,
        "num_train_epochs": 2,
        "num_responses": 2,
        "max_utterance_length": 12,
        "per_device_train_batch_size": 16,
        "disable_tqdm": True,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    dialogue.main([str(folder / "run.yaml"), "--output_dir", str(folder / "out"), "--seed", "5"])
    return folder / "out"


@pytest.fixture
def make_folder(tmp_path):
    """The folder of a run that never was."""

    def make(config=None, results=RESULTS, **record):
        folder = tmp_path / "made"
        (config or BnVaeConfig(latent_size=4)).save_pretrained(folder)
        (folder / "all_results.json").write_text(json.dumps(results))
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


def results_of(folder):
    return json.loads((folder / "all_results.json").read_text())


def metrics_of(results):
    """Every metric of a run, by split and name."""
    return {
        (split, key.removeprefix(f"{prefix}_")): value
        for prefix, split in SPLITS.items()
        for key, value in results.items()
        if key.startswith(f"{prefix}_") and key.removeprefix(f"{prefix}_") not in COUNTS and not isinstance(value, str)
    }


def text_of(folder, **options):
    return write_card(folder, **options).read_text(encoding="utf-8")


def flat(text):
    return " ".join(text.split())


def page(text):
    """The blocks of a card's page, and the texts of its tables, as a reader of GitHub's Markdown gets them."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(ModelCard(text).text)
    cells = []
    for before, token in pairwise(tokens):
        if before.type == "td_open":
            assert all(child.type in ("text", "text_special") for child in token.children), token.content
            cells.append("".join(child.content for child in token.children))
    blocks = [token.type for token in tokens]
    inline = {child.type for token in tokens for child in token.children or []}
    return blocks, inline, cells


# The metadata


@pytest.mark.parametrize("run", ["sentences", "dialogues"])
def test_the_metadata_survives_the_hubs_own_classes_with_every_metric(run, request):
    folder = request.getfixturevalue(run)
    card = ModelCard.load(folder / "README.md")
    results = results_of(folder)
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert found == metrics_of(results) and len(found) == len(card.data.eval_results)
    head = card.data.to_dict()
    name, again = model_index_to_eval_results(head["model-index"])
    assert name == "out" and again == card.data.eval_results
    assert all(isinstance(result, EvalResult) for result in again)
    assert ModelCardData(**yaml.safe_load(card.data.to_yaml())).to_dict() == head
    assert str(card) == (folder / "README.md").read_text(encoding="utf-8")
    assert {result.dataset_args["sentences"] for result in again if result.dataset_split == "test"} == {
        results["test_sentences"]
    }


def test_the_nll_says_of_how_many_samples_and_sentences_it_is(sentences):
    found = ModelCard.load(sentences / "README.md").data.eval_results
    (nll,) = (result for result in found if result.metric_type == "nll")
    assert nll.metric_args == {"samples": 5, "sentences": 20}


def test_a_card_says_that_samples_of_the_nll_stopped_early(make_folder):
    stopped = {"test_nll_samples_used": 61.7, "test_nll_tolerance": 0.1}
    text = text_of(make_folder(BnVaeConfig(latent_size=4), RESULTS | stopped))
    assert (
        "the NLL with at most K = 500 samples (62 in the mean, fewer where the standard error of a sentence's bound is "
        "below 0.1 nats) on 100 of them"
    ) in flat(text)
    (nll,) = (result for result in ModelCard(text).data.eval_results if result.metric_type == "nll")
    assert nll.metric_args == {"samples": 500, "sentences": 100, "tolerance": 0.1}
    assert not {"nll_samples_used", "nll_tolerance"} & {
        result.metric_type for result in ModelCard(text).data.eval_results
    }


@pytest.mark.parametrize(
    ("config", "tag"),
    [
        (BnVaeConfig(latent_size=4), "feature-extraction"),
        (BnVaeConfig(latent_size=4, posterior="vmf"), "feature-extraction"),
        (BnCvaeConfig(latent_size=4), None),
        (LstmLMConfig(), "text-generation"),
    ],
)
def test_every_kind_of_model_has_its_task_and_a_way_to_load_it(make_folder, config, tag):
    text = text_of(make_folder(config))
    card = ModelCard(text)
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == tag
    assert config.model_type in card.data.tags
    whole = "AutoModelForCausalLM" if config.model_type == "lstm_lm" else "AutoModelForSeq2SeqLM"
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        compile(code, "card", "exec")
        assert f"{whole}.from_pretrained(" in code
    assert "trust_remote_code=True" in text and "import hf_bnvae" in text
    assert ("the latent?" in text) is (config.model_type != "lstm_lm")


@pytest.mark.parametrize(
    ("kind", "auto_class", "tag", "said"),
    [
        (
            BnVaeForSequenceClassification,
            "AutoModelForSequenceClassification",
            "text-classification",
            "2 labels (no, yes)",
        ),
        (BnVaeModel, "AutoModel", "feature-extraction", "The encoder of a text VAE alone"),
        (BnCvaeModel, "AutoModel", None, "The encoder of a conditional VAE alone"),
    ],
)
def test_the_card_of_a_checkpoint_without_a_decoder_says_so_and_its_code_runs(
    tmp_path, monkeypatch, kind, auto_class, tag, said
):
    tokenizer = build_tokenizer(["a sentence", "how are you"], "word", 40, 1)
    labels = {"id2label": {0: "no", 1: "yes"}} if kind is BnVaeForSequenceClassification else {}
    kind(kind.config_class(vocab_size=len(tokenizer), latent_size=4, **labels)).save_pretrained(tmp_path / "made")
    tokenizer.save_pretrained(tmp_path / "made")
    (tmp_path / "made" / "all_results.json").write_text(json.dumps(RESULTS))
    text = text_of(tmp_path / "made")
    assert said in text and ModelCard(text).data.pipeline_tag == tag
    codes = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(codes) == 2 and all(f"{auto_class}.from_pretrained(" in code for code in codes)
    assert not re.search(r"Seq2Seq|decoder `|decode\(|what it writes|use the latent", text)
    monkeypatch.chdir(tmp_path)
    exec(codes[0], {})


def test_only_what_is_on_the_hub_is_named_as_such(make_folder, sentences):
    head = ModelCard(text_of(make_folder(base_model="ann/ae", data={"name": "ann/text", "hub_id": "ann/text"}))).data
    assert head.datasets == ["ann/text"] and head.base_model == "ann/ae"
    assert head.eval_results[0].dataset_type == "ann/text"
    text = text_of(make_folder(base_model=["ann/bert", "ann/llama"]))
    assert ModelCard(text).data.base_model == ["ann/bert", "ann/llama"]
    assert "started from the weights of ann/bert and ann/llama" in text
    bases = {
        "encoder": "pretrained",
        "encoder_config": BertConfig(),
        "encoder_base": {"name": "ann/b", "revision": "x"},
    }
    assert ModelCard(text_of(make_folder(BnVaeConfig(**bases)))).data.base_model == "ann/b"
    local = ModelCard.load(sentences / "README.md").data
    assert local.datasets is None and local.base_model is None and local.license == "apache-2.0"
    assert str(sentences.parent) not in local.to_yaml()


def test_numbers_that_are_not_finite_stay_out_of_the_metadata_and_are_said(make_folder):
    results = RESULTS | {"test_nll": math.nan, "test_ppl": math.inf, "train_loss": math.nan}
    card = ModelCard(text_of(make_folder(results=results)))
    assert {result.metric_type for result in card.data.eval_results} >= {"kl", "mi", "au"}
    assert all(math.isfinite(result.metric_value) for result in card.data.eval_results)
    assert not re.search(r"\bnan\b|\binf\b", str(card), flags=re.IGNORECASE)
    assert card.text.count("not finite") == 3
    assert "the latent?" not in text_of(make_folder(results=results | {"test_kl": math.nan}))


# The page


def test_a_card_of_sentences_says_how_the_run_was_made(sentences):
    text = (sentences / "README.md").read_text(encoding="utf-8")
    command = command_line("train", flags(sentences.parent, sentences, seed=3))
    assert command in text and "--data_license 'CC0-1.0 | of <ann>' --license apache-2.0" in text
    assert "with seed 3" in text and "- Seed: 3" in text
    assert r"CC0-1.0 \| of &lt;ann>" in text and "Licence of the model: apache-2.0" in text
    for package, version in versions().items():
        assert f"{package} {version}" in text.replace("\\_", "_")
    assert "80 sentences, " in text and "of 81 lines empty" in text
    assert "Sentences of the test split" in text and (sentences / "training.png").stat().st_size > 1000
    assert "](training.png)" in text


def test_every_metric_stands_in_the_table_as_the_run_printed_it(sentences, dialogues):
    for folder in (sentences, dialogues):
        text = (folder / "README.md").read_text(encoding="utf-8")
        for (split, metric), value in metrics_of(results_of(folder)).items():
            (row,) = re.findall(rf"^\| {re.escape(cards.CARD_METRICS[metric].label)} \|.*$", text, flags=re.MULTILINE)
            shown = row.split(" | ")[2 if split == "validation" else 3]
            assert float(shown.replace(",", "")) == pytest.approx(value, abs=0.005)


def test_a_card_of_dialogues_shows_contexts_with_responses_and_its_yaml_flags(dialogues):
    text = (dialogues / "README.md").read_text(encoding="utf-8")
    record = json.loads((dialogues / "run.json").read_text())
    assert "--max_utterance_length 12" in record["command"] and "run.yaml" not in record["command"]
    assert record["command"] in text and "Apache-2.0" in text and "- Seed: 5" in text
    _, _, cells = page(text)
    for case in record["examples"]["responses"]:
        assert len(case["responses"]) == RESPONSES_SHOWN
        assert {case["target"][1], *(flat(said) or "(nothing)" for said in case["responses"])} <= {*cells, "(nothing)"}
        assert case["context"][-1][1] in text
    assert "KL of the prior" in text and "from N(0, I)" in text


@pytest.mark.parametrize("where", ["samples", "interpolation", "reconstructions", "responses"])
def test_no_text_of_the_data_breaks_the_page(make_folder, where):
    def examples(texts):
        pairs = [[text, text] for text in texts]
        case = {"context": pairs, "target": pairs[0], "responses": texts}
        return {"split": "test"} | {where: {"reconstructions": pairs, "responses": [case]}.get(where, texts)}

    plain = page(text_of(make_folder(examples=examples(["plain"] * len(NASTY)))))
    blocks, inline, cells = page(text_of(make_folder(examples=examples([*NASTY[:-1], "last"]))))
    assert blocks == plain[0] and inline <= plain[1] | {"text_special"}
    for text in NASTY[:-1]:
        assert flat(text) in cells
    assert "nothing" in text_of(make_folder(examples=examples([""] * len(NASTY))))


def test_no_name_or_command_breaks_the_page_or_the_metadata(make_folder):
    plain = page(text_of(make_folder(title="x", command="x", notes="x", license="mit", data={"name": "x"})))
    for text in filter(None, NASTY):
        made = text_of(make_folder(title=text, command=text, notes=text, license="mit", data={"name": text}))
        blocks, inline, _ = page(made)
        assert blocks == plain[0] and inline <= plain[1] | {"text_special"}, text
        fence = re.search(r"^(`{3,})bash\n(.*?)\n\1$", made, flags=re.DOTALL | re.MULTILINE)
        assert fence[2] == text
        assert ModelCard(made).data.eval_results[0].dataset_name == text


@pytest.mark.parametrize(
    ("metrics", "config", "said"),
    [
        ({"kl": 0.02, "mi": 0.01, "au": 0}, {"posterior": "gaussian"}, "has collapsed"),
        ({"kl": 3.0, "mi": 0.9, "au": 3}, {"posterior": "gaussian"}, "has collapsed"),
        ({"kl": 7.8, "mi": 5.0, "au": 32}, {"posterior": "gaussian"}, "has not collapsed"),
        ({"kl": 7.8, "mi": 5.0, "au": 32}, {}, "bound on the KL is 7.84 nats (n·γ²/2 with n = 32 and γ = 0.7)"),
        ({"kl": 7.0, "mi": 5.0, "au": 32}, {}, "the KL here is 7.00, 10.7% under it"),
        ({"kl": 8.1, "mi": 5.0, "au": 32}, {}, "the KL here is 8.10, not under it"),
        ({"kl": 3.3, "mi": 1.2, "au": 32}, {"posterior": "delta"}, "bound on the KL is 3.20 nats (n·δ"),
        ({"kl": 12.0, "mi": 1.2, "au": 32}, {"posterior": "tied_scales", "tau": 0.5}, "bound on the KL is 11.09 nats"),
        (
            {"kl": 8.1, "mi": 5.0, "au": 32},
            {"posterior": "matched"},
            "bound on the KL is 8.00 nats (−n/2·log(1−γ²), the rate that was",
        ),
        ({"kl": 8.1, "mi": 5.0, "au": 32}, {"rate": 8.0}, "bound on the KL is 8.00 nats (n·γ²/2 with n = 32"),
        ({"kl": 7.8, "mi": 5.0, "au": 32, "use": 0.05}, {"posterior": "gaussian"}, "has collapsed"),
    ],
)
def test_the_diagnosis_is_the_trainers_and_names_the_bound(make_folder, metrics, config, said):
    results = {f"test_{name}": value for name, value in metrics.items()}
    text = text_of(make_folder(BnVaeConfig(**config), results))
    assert said in text
    assert f"{metrics['au']} of 32 units are active, MI {metrics['mi']:.2f} and KL {metrics['kl']:.2f} nats" in text
    assert ("bound on the KL is" in text) is (config.get("posterior") != "gaussian")


# What is there, and what is not


def test_a_card_can_be_written_again_from_its_folder_alone(sentences, tmp_path, capsys):
    before = (sentences / "README.md").read_bytes()
    assert write_card(sentences).read_bytes() == before
    write_card_script.main([str(sentences), "--repo_id", "ann/tiny", "--output", str(tmp_path / "new" / "card.md")])
    assert (sentences / "README.md").read_bytes() == before
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "card.md")
    text = (tmp_path / "new" / "card.md").read_text(encoding="utf-8")
    assert 'from_pretrained("ann/tiny", trust_remote_code=True)' in text and ModelCard(text).data.model_name == "tiny"
    assert "](card_training.png)" in text and (tmp_path / "new" / "card_training.png").is_file()


def test_a_card_needs_no_more_than_a_configuration(tmp_path):
    BnVaeConfig().save_pretrained(tmp_path)
    card = ModelCard(text_of(tmp_path))
    assert card.data.eval_results is None and "No split was judged" in card.text and "](" not in card.text
    assert "Nobody has said under which terms" in card.text and "which is not known" in card.text


@pytest.mark.parametrize("missing", ["library", "history"])
def test_what_cannot_be_drawn_is_left_out_without_a_word(missing, sentences, tmp_path, monkeypatch, caplog):
    for name in ("config.json", "all_results.json", "run.json", "trainer_state.json"):
        (tmp_path / name).write_bytes((sentences / name).read_bytes())
    if missing == "library":
        monkeypatch.setattr(cards, "find_spec", lambda name: None)
    else:
        (tmp_path / "trainer_state.json").write_text('{"log_history": [{"loss": 1.0}]}')
    text = text_of(tmp_path)
    assert "](" not in text and "matplotlib" not in text and not caplog.text
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md"}


def test_data_that_must_not_be_passed_on_is_not_quoted(sentences, tmp_path):
    train.main(
        flags(sentences.parent, tmp_path / "out", card_quotes=0, max_steps=1, nll_samples=0, reconstruction_samples=0)
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["examples"].keys() == {"samples", "interpolation", "split"}
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "reconstructions" not in text and "a sample from the prior" in text


def test_a_run_without_validation_test_or_latent_has_a_card(sentences, tmp_path):
    data = {"dataset_name": None, "train_file": sentences.parent / "train.txt", "eval_strategy": "no"}
    changes = data | {"load_best_model_at_end": False, "latent_size": None, "kl_annealing_epochs": None}
    train.main(flags(None, tmp_path / "out", method="lstm_lm", max_steps=1, **changes))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.eval_results is None and "of train.txt in" in card.text and "a sample |" in card.text


def test_no_token_reaches_the_folder_of_a_run(sentences):
    for path in sentences.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_no_token_reaches_the_command_and_a_tokenizer_does(tmp_path):
    argv = ["--hub_token", SECRET, "--tokenizer", "word", f"--hub-token={SECRET}", "--push_to_hub_token"]
    (tmp_path / "run.yaml").write_text(f"hub_token: {SECRET}\nseed: 3\n")
    argv = all_flags([str(tmp_path / "run.yaml"), *argv, SECRET, "--note", "it's", "two words"])
    command = command_line("/somewhere/run_scripts/run_lm.py", argv, processes=2)
    assert shlex.split(command) == [
        *("accelerate", "launch", "--num_processes", "2", "run_scripts/run_lm.py"),
        *("--seed", "3", "--tokenizer", "word", "--note", "it's", "two words"),
    ]
    hidden = command_line("run_lm.py", ["--train_file", "https://ann:secret@host/x.txt", "--note", "hf_" + 34 * "a"])
    assert "https://***@host/x.txt" in hidden and "secret" not in hidden and "hf_" not in hidden


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("/home/ann/secret/project/train.txt", "project/train.txt"),
        ("--output_dir=/home/ann/secret/out/", "--output_dir=secret/out"),
        ("~/secret/data/*.jsonl", "'data/*.jsonl'"),
        (r"C:\Users\secret\data\x.txt", "data/x.txt"),
        ("/out", "out"),
        ("relative/path/to/x.txt", "relative/path/to/x.txt"),
        ("runs/hf_experiments", "runs/hf_experiments"),
        ("ann/bert-base", "ann/bert-base"),
        ("CC0 / MIT", "'CC0 / MIT'"),
        ("https://host/a/b/x.txt?sig=s3cr3t&v=/a/b/c", "'https://host/a/b/x.txt?sig=***&v=/a/b/c'"),
        ("https://host/x.txt?design=1&access_token=s3cr3t", "'https://host/x.txt?design=1&access_token=***'"),
        (
            "s3://b/x?X-Amz-Signature=s3cr3t&X-Amz-Security-Token=s3",
            "'s3://b/x?X-Amz-Signature=***&X-Amz-Security-Token=***'",
        ),
        (f"see {SECRET}", "'see ***'"),
        ("hf_" + 34 * "a", "***"),
    ],
)
def test_a_command_keeps_what_it_says_and_neither_secrets_nor_the_place_of_files(monkeypatch, argument, said):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert command_line("train", [argument]) == f"hf-bnvae train {said}"


def test_a_card_is_a_file_and_a_model_in_shards_is_a_model(make_folder, tmp_path):
    folder = make_folder()
    with pytest.raises(CardError, match="is a folder: name the file"):
        write_card(folder, output=tmp_path)
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "No weights belong to this card" not in write_card(folder).read_text()


def test_a_card_learns_the_name_of_its_repository_unless_it_was_changed_by_hand(sentences, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(sentences, folder)
    card = folder / "README.md"
    card.unlink()
    write_card(folder)
    assert name_repository(folder, "ann/yelp") and 'from_pretrained("ann/yelp"' in card.read_text()
    assert name_repository(folder, "ann/again") and 'from_pretrained("ann/again"' in card.read_text()
    card.write_text("mine\n")
    assert not name_repository(folder, "ann/other") and card.read_text() == "mine\n"
    card.unlink()
    assert name_repository(folder, "ann/other") and 'from_pretrained("ann/other"' in card.read_text()


@pytest.mark.parametrize("judged", [True, False])
def test_a_card_learns_the_name_of_its_repository_in_a_folder_with_another_name(make_folder, tmp_path, judged):
    folder = make_folder(results=RESULTS if judged else {})
    (folder / "model.safetensors").touch()
    assert 'from_pretrained("made"' in text_of(folder)
    copy = folder.rename(tmp_path / "r\u00e9named")
    assert name_repository(copy, "ann/yelp")
    card = (copy / "README.md").read_text(encoding="utf-8")
    assert "made" not in card and 'from_pretrained("ann/yelp"' in card and "# yelp" in card
    assert 'from_pretrained("r' in text_of(copy) and name_repository(copy, "ann/yelp")


def test_the_code_of_a_card_loads_the_revision_that_was_published(make_folder):
    folder = make_folder()
    for revision in ("v2", None, "main", "refs/pr/1", "v3"):
        assert name_repository(folder, "ann/yelp", revision)
        code = "".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL))
        named = revision if revision in ("v2", "v3") else None
        assert code.count('from_pretrained("ann/yelp"') == 5
        assert code.count(f', revision="{named}"') == (5 if named else 0) and "refs" not in code


@pytest.mark.parametrize("name", ["no slash in/too/many", "ann/", "ann/a b"])
def test_a_name_that_the_hub_would_not_take_is_refused_and_the_card_stays(name, sentences):
    before = (sentences / "README.md").read_bytes()
    with pytest.raises(CardError, match="is no name of a repository"):
        write_card(sentences, repo_id=name)
    assert (sentences / "README.md").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "holds no config.json"),
        ("config.json", "{", "is no configuration of a model"),
        ("config.json", '{"model_type": "bert"}', "holds a bert model"),
        ("all_results.json", "{", "all_results.json cannot be read"),
        ("run.json", "[]", "run.json holds no names with values"),
        ("run.json", '{"data": null}', "hold what no run writes"),
        ("run.json", '{"versions": ["1"]}', "hold what no run writes"),
        ("all_results.json", '{"test_kl": 1.0, "train_sentences": null}', "hold what no run writes"),
        ("trainer_state.json", '{"log_history": [3]}', "hold what no run writes"),
    ],
)
def test_a_folder_that_is_no_run_gets_one_sentence(make_folder, name, content, message):
    folder = make_folder()
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(CardError, match=message) as error:
        write_card(folder)
    assert "\n" not in str(error.value) and not (folder / "README.md").exists()


def test_only_words_that_the_tokens_do_not_spell_are_said_to_be_the_same(make_folder):
    said = "words that they do not spell are one and the same"
    assert said in text_of(make_folder()) and said in text_of(make_folder(BnVaeConfig(unk_token_id=3)))
    assert said not in text_of(make_folder(BnVaeConfig(unk_token_id=2, eos_token_id=2)))  # as GPT-2's, of bytes


def test_a_licence_may_have_a_plus():
    assert CardArguments(license="openrail++").license == "openrail++"


@pytest.mark.parametrize("value", ["Apache 2.0", "apache-2.0\nx: y", ""])
def test_a_licence_is_an_id_of_the_hub(value):
    with pytest.raises(UsageError, match="--license must be the id of a licence"), flags_named():
        CardArguments(license=value)


def test_a_language_is_a_code_and_stands_in_the_metadata(make_folder):
    assert ModelCard(text_of(make_folder(language=["en", "zh"]))).data.language == ["en", "zh"]
    assert CardArguments(language=["en", "pt-BR"]).language == ["en", "pt-BR"]
    assert CardArguments(language="en").language == ModelCardCallback(language="en").record["language"] == ["en"]
    head = ModelCard(text_of(make_folder(language=["en", "pt-BR", "pt-PT", "pt"]))).data
    assert head.language == ["en", "pt"] and head.to_dict()["language_bcp47"] == ["pt-BR", "pt-PT"]
    words = "--language must be the codes of languages, such as en or zh, got 'English'"
    with pytest.raises(UsageError, match=words), flags_named():
        CardArguments(language=["English"])


def test_the_committed_cards_are_what_their_commands_write(tmp_path):
    folder = ROOT / "model_cards"
    commands = re.findall(r"^hf-bnvae card (\S+) --output (\S+)$", *[(folder / "README.md").read_text()], re.M)
    assert {ROOT / output for _, output in commands} == {*folder.glob("*.md")} - {folder / "README.md"}
    for results, output in commands:
        written = write_card(ROOT / results, output=tmp_path / (ROOT / output).name)
        assert written.read_text(encoding="utf-8") == (ROOT / output).read_text(encoding="utf-8")
