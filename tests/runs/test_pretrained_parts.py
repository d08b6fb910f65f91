"""Runs on pretrained parts: two tokenizers, a frozen encoder whose states are computed once, and what is saved."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from hf_bnvae import BnVaeForConditionalGeneration, TextVaePipeline, train
from hf_bnvae.analysis import read_latent_space
from hf_bnvae.cli.errors import UsageError
from hf_bnvae.cli.train import main as train_command
from hf_bnvae.data import TokenizerPair, VaeCollator, load_tokenizer
from hf_bnvae.data.batches import encoded_columns
from hf_bnvae.evaluation import elbo_metrics, infer
from hf_bnvae.hub.publishing import files_to_publish
from hf_bnvae.hub.spaces import write_space
from hf_bnvae.runs import text_run
from hf_bnvae.runs.data_arguments import DataArguments
from hf_bnvae.runs.evaluation_arguments import EvaluationArguments, TextMetricArguments
from hf_bnvae.runs.sentence_encoders import encode as encode_texts
from hf_bnvae.runs.text_evaluation import evaluate_text_model
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

WORDS = ["the", "food", "was", "great", "never", "again", "i", "love", "this", "place", "we", "will", "be", "back"]
TEXTS = [" ".join(WORDS[number % 7 : number % 7 + 3 + number % 4]) for number in range(120)]
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL = {
    "latent_size": 3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 2,
    "kl_annealing_epochs": 1,
    "nll_samples": 3,
    "disable_tqdm": True,
    "report_to": "none",
}


def save_tokenizer(folder, start: str | None, end: str, names: list[str]) -> None:
    """A tokenizer of whole words that puts its start and its end around each text, or neither of them."""
    vocabulary = {token: number for number, token in enumerate([*names, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=names[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    if start is not None:
        ends = [(token, vocabulary[token]) for token in (start, end)]
        tokenizer.post_processor = processors.TemplateProcessing(f"{start} $A {end}", special_tokens=ends)
    special = {"cls_token": start, "sep_token": end} if start is not None else {"eos_token": end}
    padding = {"pad_token": names[0]} if start is not None else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=names[-1], **special, **padding).save_pretrained(
        folder
    )


def save_parts(tmp_path_factory) -> dict[str, str]:
    """A tiny encoder and a tiny decoder whose tokens have other numbers; the decoder's end is also its padding."""
    torch.manual_seed(0)
    encoder, decoder = (tmp_path_factory.mktemp(name) for name in ("encoder", "decoder"))
    save_tokenizer(encoder, "[CLS]", "[SEP]", ["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    save_tokenizer(decoder, None, "<end>", ["<end>", "<unk>"])
    AutoModel.from_config(
        AutoConfig.for_model("bert", **SIZES, vocab_size=4 + len(WORDS), pad_token_id=0)
    ).save_pretrained(encoder)
    config = AutoConfig.for_model("llama", **SIZES, vocab_size=2 + len(WORDS), eos_token_id=0, bos_token_id=None)
    AutoModelForCausalLM.from_config(config).save_pretrained(decoder)
    return {"encoder_name_or_path": str(encoder), "decoder_name_or_path": str(decoder)}


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict[str, str]:
    return save_parts(tmp_path_factory)


def pair_of(parts) -> TokenizerPair:
    return TokenizerPair(*(AutoTokenizer.from_pretrained(folder) for folder in parts.values()))


def test_a_pair_reads_as_the_encoder_and_writes_as_the_decoder_whose_end_is_learnt(parts):
    pair = pair_of(parts)
    columns = encoded_columns(["the food", "never again <end> i"], pair, 4)
    assert columns["input_ids"][0] == [1, 4, 5, 2] and columns["labels"][0] == [2, 3, 0]
    assert columns["labels"][1] == [6, 7, 0] and columns["truncated"] == [False, True]
    assert columns["symbols"] == [0, 1] and columns["length"] == [4, 4]
    rows = [{"input_ids": [1, 4, 2], "labels": [2, 0]}, {"input_ids": [1, 4, 5, 2], "labels": [2, 3, 0]}]
    batch = VaeCollator(pair.pad_token_id)(rows)
    assert batch["labels"].tolist() == [[2, 0, -100], [2, 3, 0]]
    assert batch["word_positions"].tolist() == [0, 1, 3, 4, 5]
    assert pair.batch_decode([[2, 3, 0]], skip_special_tokens=True) == ["the food"]


@pytest.mark.parametrize("chosen", [("encoder",), ("decoder",), ("encoder", "decoder")])
@pytest.mark.parametrize(
    "training",
    [{"train_encoder": "frozen", "train_decoder": "full"}, {"train_encoder": "full", "train_decoder": "frozen"}],
)
def test_a_run_trains_what_it_is_told_and_what_it_saves_loads_and_writes(parts, chosen, training, tmp_path):
    named = {f"{part}_name_or_path": parts[f"{part}_name_or_path"] for part in chosen}
    options = {name: value for name, value in training.items() if name.removeprefix("train_") in chosen}
    options |= {} if "decoder" in chosen else {"hidden_size": 12}
    vae = train(TEXTS, "matched_vae", tmp_path / "out", **SMALL, **named, **options, rate=3.0)
    weights = vae.model.state_dict()
    for part, prefix in (("encoder", "model.encoder."), ("decoder", "decoder.lm.")):
        if part in chosen:
            kind = AutoModel if part == "encoder" else AutoModelForCausalLM
            before = kind.from_pretrained(parts[f"{part}_name_or_path"]).state_dict()
            same = all(
                torch.equal(value, weights[prefix + name]) for name, value in before.items() if "pooler" not in name
            )
            assert same == (training.get(f"train_{part}") == "frozen")
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out"))
    torch.testing.assert_close(again.encode(TEXTS[:5]), vae.encode(TEXTS[:5]))
    assert again.reconstruct(TEXTS[:3]) == vae.reconstruct(TEXTS[:3])
    assert isinstance(load_tokenizer(str(tmp_path / "out")), TokenizerPair)
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["eval_nll"] <= results["eval_elbo"] + 0.5 and results["eval_kl"] > 0
    assert results["eval_word_ppl"] == pytest.approx(results["eval_ppl"])  # its tokens are words


def test_states_computed_once_give_what_the_encoder_gives_in_every_epoch(parts, tmp_path):
    """A frozen encoder that reads in every epoch, and one whose states stand in the data, have one latent space."""
    named = {"encoder_name_or_path": parts["encoder_name_or_path"]}
    vae = train(TEXTS, "bn_vae", tmp_path / "out", **SMALL, **named, hidden_size=12)
    states = vae.model.model.read(**pair_inputs(vae, TEXTS[:4])).last
    torch.testing.assert_close(vae.model.encode(encoder_states=states), vae.encode(TEXTS[:4]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chosen", [("encoder",), ("encoder", "decoder")])
def test_an_evaluation_of_the_saved_model_gives_the_results_of_its_run(parts, chosen, tmp_path):
    named = {f"{part}_name_or_path": parts[f"{part}_name_or_path"] for part in chosen}
    (tmp_path / "v.txt").write_text("\n".join(TEXTS[:30]) + "\n", encoding="utf-8")
    options = SMALL | ({"hidden_size": 12} if len(chosen) == 1 else {"lora_rank": 2})
    train({"train": TEXTS, "validation": TEXTS[:30]}, "bn_vae", tmp_path / "out", **options, **named)
    of_the_run = json.loads((tmp_path / "out" / "all_results.json").read_text())
    asked = EvaluationArguments(str(tmp_path / "out"), split="validation")
    data = DataArguments(validation_file=str(tmp_path / "v.txt"))
    results, _ = evaluate_text_model(asked, data, TextMetricArguments(nll_samples=3))
    for name in ("eval_elbo", "eval_rec", "eval_kl", "eval_mi", "eval_use", "eval_nll", "eval_reconstruction_bleu"):
        assert results[name] == pytest.approx(of_the_run[name], rel=1e-4), name


def pair_inputs(vae, texts) -> dict:
    batch = vae.tokenizer.encoder(texts, padding=True, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"decoder_name_or_path": "ENCODER"},
            "a bert model, which is no causal language model",
        ),
        ({"encoder_name_or_path": "/nowhere/at/all"}, "encoder_name_or_path.*could not be loaded"),
        (
            {"method": "cnn_vae", "decoder_name_or_path": "DECODER"},
            "decoder_name_or_path stands in the place",
        ),
        ({"method": "sa_vae", "encoder_name_or_path": "ENCODER"}, "refinement_steps must be 0"),
        ({"train_encoder": "some"}, "train_encoder must be frozen or full, got some"),
        ({"train_encoder": "full"}, "train_encoder is read with encoder_name_or_path only"),
        ({"lora_rank": 4}, "lora_rank is read with decoder_name_or_path only"),
        ({"pretrained_learning_rate": 1e-3}, "pretrained_learning_rate is of pretrained parts"),
        (
            {"encoder_name_or_path": "ENCODER", "decoder_name_or_path": "DECODER", "vocab_size": 30},
            "vocab_size is of a tokenizer that the run makes, and pretrained parts have theirs: leave it out",
        ),
        (
            {"method": "lm", "decoder_name_or_path": "DECODER", "tokenizer": "bpe"},
            "tokenizer is of a tokenizer that the run makes",
        ),
        (
            {"decoder_name_or_path": "DECODER", "embedding_dropout": 0.1},
            "embedding_dropout is read by the decoder .*lstm.* only, and this run has pretrained",
        ),
        ({"decoder_name_or_path": "DECODER", "train_decoder": "full", "lora_rank": 4}, "lora_rank is read with train_"),
        ({"decoder_name_or_path": "DECODER", "hidden_size": 12}, "hidden_size is said by the configuration of decoder"),
        ({"decoder_name_or_path": "DECODER", "embedding_size": 8}, "embedding_size is said by the configuration of d"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_before_any_training(parts, changes, said, tmp_path):
    names = {"ENCODER": parts["encoder_name_or_path"], "DECODER": parts["decoder_name_or_path"]}
    changes = {name: names.get(value, value) for name, value in changes.items()}
    with pytest.raises(ValueError, match=said):
        train(TEXTS, **{"method": "vae", "output_dir": tmp_path / "out"} | SMALL | changes)


def test_adapters_without_peft_are_refused_before_the_corpus_is_read(parts, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_bnvae.models.lora._peft", lambda: None)
    named = {"decoder_name_or_path": parts["decoder_name_or_path"], "train_file": str(tmp_path / "none.txt")}
    arguments = [word for name, value in named.items() for word in (f"--{name}", value)]
    with pytest.raises(UsageError, match=r"^--train_decoder lora: .* pip install 'hf-bnvae\[lora\]', or train it full"):
        train_command([*arguments, "--output_dir", str(tmp_path / "out")])


def broken_copy(folder, harm: str, target) -> str:
    """A copy of a model of Transformers that something is wrong with."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    kind = AutoModelForCausalLM if config["model_type"] == "llama" else AutoModel
    if harm == "no tokenizer":
        for file in target.glob("tokenizer*"):
            file.unlink()
    elif harm == "no weights":
        (target / "model.safetensors").unlink()
    elif harm == "no file of weights":
        (target / "model.safetensors").write_bytes(b"a page that says no")
    elif harm == "weights of another size":
        (target / "config.json").write_text(json.dumps(config | {"intermediate_size": 8}))
    elif harm == "weights of fewer layers":
        (target / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    else:
        kind.from_config(AutoConfig.from_pretrained(folder, vocab_size=10)).save_pretrained(target)
    return str(target)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("no tokenizer", "has no tokenizer: save that of the model there|its tokenizer could not be loaded"),
        ("no weights", "its weights cannot be read .*no file named"),
        ("no file of weights", "its weights cannot be read"),
        ("weights of another size", "its weights have other sizes than its config.json says, .* for one"),
        ("weights of fewer layers", r"it lacks weights of a \w+ model, .*layers?\.1\..* for one"),
        ("fewer words than its tokenizer", r"its tokenizer has the id \d+ and the model 10 words"),
    ],
)
def test_a_folder_that_holds_no_whole_model_is_refused_by_its_name(parts, part, harm, said, tmp_path):
    name = f"{part}_name_or_path"
    folder = broken_copy(parts[name], harm, tmp_path / "broken")
    with pytest.raises(ValueError, match=f"^{name} '?{re.escape(folder)}'?:? ({said})"):
        train(TEXTS, "vae", tmp_path / "out", **SMALL, **{name: folder})
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_symbol_of_a_picture_that_the_network_has_no_vector_for_does_no_harm(parts, part, tmp_path):
    name = f"{part}_name_or_path"
    shutil.copytree(parts[name], tmp_path / "part")
    tokenizer = AutoTokenizer.from_pretrained(parts[name])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(tmp_path / "part")
    options = SMALL | ({"hidden_size": 12} if part == "encoder" else {})
    train(TEXTS, "vae", tmp_path / "out", **options, **{name: str(tmp_path / "part")})
    asked = EvaluationArguments(str(tmp_path / "out"), split="test")
    (tmp_path / "t.txt").write_text("\n".join(TEXTS[:30]) + "\n", encoding="utf-8")
    data = DataArguments(test_file=str(tmp_path / "t.txt"))
    results, _ = evaluate_text_model(asked, data, TextMetricArguments(nll_samples=2))
    assert math.isfinite(results["test_nll"])


def test_layers_are_computed_twice_only_where_a_gradient_goes_through_them(parts, tmp_path, monkeypatch):
    """Refused of a frozen encoder over an LSTM before it reads the corpus, also by the trainer alone."""
    options = SMALL | {"num_train_epochs": 1, "nll_samples": 0, "gradient_checkpointing": True}
    encoder = {"encoder_name_or_path": parts["encoder_name_or_path"]}
    decoder = {"decoder_name_or_path": parts["decoder_name_or_path"], "train_decoder": "frozen"}
    with pytest.raises(ValueError, match="without the keys and values of z: leave it out, or use soft_prompt_length 8"):
        train(TEXTS, "vae", tmp_path / "memory", **options, **decoder)
    decoder["soft_prompt_length"] = 8
    said = "^gradient_checkpointing computes layers again .* a frozen encoder over an LSTM has none: leave it out"
    with monkeypatch.context() as patched, pytest.raises(ValueError, match=said):
        patched.setattr(text_run, "with_encoder_states", lambda *_: pytest.fail("the encoder reads"))
        train(TEXTS, "vae", tmp_path / "refused", **options, **encoder)
    assert not (tmp_path / "refused").exists()
    for name, named in (
        ("trained", encoder | {"train_encoder": "full", "hidden_size": 12}),
        ("under_frozen", encoder | decoder),
    ):
        train(TEXTS, "vae", tmp_path / name, **options, **named)
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(*encoder.values(), latent_size=3)
    quiet = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    asked = VaeTrainingArguments(output_dir=str(tmp_path / "trainer"), gradient_checkpointing=True, **quiet)
    model.model.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="`gradient_checkpointing` computes layers again"):
        VaeTrainer(model, asked)
    model.model.encoder.requires_grad_(True)
    VaeTrainer(model, asked)


def test_adapters_alone_are_trained_and_the_saved_model_has_them_merged(parts, tmp_path):
    named = {"decoder_name_or_path": parts["decoder_name_or_path"]}
    vae = train(
        TEXTS,
        "vae",
        tmp_path / "out",
        **SMALL,
        **named,
        lora_rank=2,
        save_steps=5,
        save_strategy="steps",
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    before = AutoModelForCausalLM.from_pretrained(parts["decoder_name_or_path"]).state_dict()
    after = vae.model.decoder.lm.state_dict()
    assert before.keys() == after.keys() and vae.model.config.decoder_lora is None
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("_proj" in name and "mlp" not in name for name in changed)
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out"))
    assert again.reconstruct(TEXTS[:4]) == vae.reconstruct(TEXTS[:4])
    checkpoint = next((tmp_path / "out").glob("checkpoint-*"))
    kept = BnVaeForConditionalGeneration.from_pretrained(checkpoint)
    adapters = [value for name, value in kept.state_dict().items() if "lora_B" in name]
    assert kept.config.decoder_lora["rank"] == 2 and adapters and all(value.abs().sum() > 0 for value in adapters)


def test_a_decoder_with_new_adapters_is_the_one_without(parts):
    torch.manual_seed(0)
    options = {"decoder": parts["decoder_name_or_path"], "latent_size": 3, "encoder_vocab_size": 20}
    plain = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(**options)
    lora = {"rank": 2, "alpha": 4}
    adapted = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(**options, decoder_lora=lora)
    adapted.load_state_dict(plain.state_dict(), strict=False)
    latents, tokens = torch.randn(2, 3), torch.randint(2, 10, (2, 5))
    for name in ("latent_to_memory", "latent_to_words"):
        getattr(adapted.decoder, name).load_state_dict(getattr(plain.decoder, name).state_dict())
    said, wanted = (model(latents=latents, decoder_input_ids=tokens).logits for model in (adapted, plain))
    torch.testing.assert_close(said, wanted)
    trained = {name for name, value in adapted.decoder.lm.named_parameters() if value.requires_grad}
    assert trained and all("lora_" in name for name in trained)


def test_pretrained_weights_have_a_learning_rate_of_their_own(parts, tmp_path):
    torch.manual_seed(0)
    model = BnVaeForConditionalGeneration.from_encoder_decoder_pretrained(
        encoder=parts["encoder_name_or_path"], decoder=parts["decoder_name_or_path"], latent_size=3
    )
    rates = {"learning_rate": 0.1, "pretrained_learning_rate": 0.01}
    args = VaeTrainingArguments(str(tmp_path), **rates, eval_strategy="no", load_best_model_at_end=False)
    groups = VaeTrainer(model, args).create_optimizer().param_groups
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[parameter] == (0.01 if name.startswith(("model.encoder.", "decoder.lm.")) else 0.1), name


@pytest.mark.parametrize("normalised", [False, True])
def test_embeddings_of_the_encoder_itself_become_the_texts_that_its_reading_gives(parts, normalised, tmp_path):
    named = {"encoder_name_or_path": parts["encoder_name_or_path"], "encoder_normalised": normalised}
    vae = train(TEXTS, "matched_vae", tmp_path / "out", **SMALL, **named, hidden_size=12)
    encoder = AutoModel.from_pretrained(parts["encoder_name_or_path"]).eval()
    batch = vae.tokenizer.encoder(TEXTS[:4], padding=True, return_tensors="pt")
    states = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state.detach()
    weights = batch["attention_mask"].unsqueeze(-1)
    embeddings = (states * weights).sum(1) / weights.sum(1)
    if normalised:
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    assert vae.decode_embeddings(embeddings.numpy()) == vae.reconstruct(TEXTS[:4])
    assert vae.decode_embeddings(embeddings[:0]) == []
    with pytest.raises(ValueError, match=r"embeddings must be \(n, 16\), got \(4, 3\)"):
        vae.decode_embeddings(embeddings[:, :3])


STEPS = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def whole_run(parts, tmp_path_factory):
    """A run on both parts with a checkpoint in its middle."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    train(TEXTS, "bn_vae", folder, **SMALL, **STEPS, **parts, lora_rank=2)
    return folder


def broken_off(whole_run, folder):
    """What a run leaves that was killed before its last checkpoint."""
    shutil.copytree(whole_run, folder)
    first, *others = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in others:
        shutil.rmtree(path)
    return first


def test_a_resumed_run_ends_with_the_model_of_the_unbroken_one(parts, whole_run, tmp_path):
    checkpoint = broken_off(whole_run, tmp_path / "out")
    options = SMALL | STEPS | parts | {"lora_rank": 2, "resume_from_checkpoint": str(checkpoint)}
    resumed = train(TEXTS, "bn_vae", tmp_path / "out", **options).model.state_dict()
    unbroken = BnVaeForConditionalGeneration.from_pretrained(whole_run).state_dict()
    assert resumed.keys() == unbroken.keys()
    for name, value in unbroken.items():
        torch.testing.assert_close(resumed[name], value, msg=name)


def test_a_run_on_the_encoder_of_t5_is_resumed(parts, tmp_path):
    shutil.copytree(parts["encoder_name_or_path"], tmp_path / "t5")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 4 + len(WORDS)}
    AutoModel.from_config(AutoConfig.for_model("t5", **sizes)).save_pretrained(tmp_path / "t5")
    options = SMALL | STEPS | {"encoder_name_or_path": str(tmp_path / "t5"), "hidden_size": 12}
    train(TEXTS, "bn_vae", tmp_path / "whole", **options)
    checkpoint = broken_off(tmp_path / "whole", tmp_path / "out")
    resumed = train(TEXTS, "bn_vae", tmp_path / "out", **options, resume_from_checkpoint=str(checkpoint))
    unbroken = BnVaeForConditionalGeneration.from_pretrained(tmp_path / "whole").state_dict()
    torch.testing.assert_close(resumed.model.state_dict(), unbroken)


def test_a_decoder_that_cannot_be_one_is_named(parts, tmp_path):
    shutil.copytree(parts["decoder_name_or_path"], tmp_path / "falcon")
    config = AutoConfig.for_model("falcon", **SIZES, vocab_size=2 + len(WORDS), multi_query=True, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "falcon")
    with pytest.raises(ValueError, match=r"decoder_name_or_path .*falcon: .*: use soft_prompt_length"):
        train(TEXTS, "bn_vae", tmp_path / "out", **SMALL, decoder_name_or_path=str(tmp_path / "falcon"))


def test_a_run_goes_on_with_what_it_trained_of_pretrained_parts(parts, whole_run, tmp_path):
    checkpoint = broken_off(whole_run, tmp_path / "out")
    options = SMALL | STEPS | parts | {"lora_rank": 2, "resume_from_checkpoint": str(checkpoint)}
    with pytest.raises(ValueError, match="its run had train_encoder frozen and this one has full; repeat the run's"):
        train(TEXTS, "bn_vae", tmp_path / "out", **options, train_encoder="full")


@pytest.mark.parametrize("changes", [{"lora_rank": 3}, {"train_decoder": "full"}])
def test_a_run_with_adapters_goes_on_with_these_alone(parts, whole_run, changes, tmp_path):
    checkpoint = broken_off(whole_run, tmp_path / "out")
    options = SMALL | STEPS | parts | {"resume_from_checkpoint": str(checkpoint)} | changes
    with pytest.raises(ValueError, match=r"the checkpoint has decoder_lora .* repeat those of the run"):
        train(TEXTS, "bn_vae", tmp_path / "out", **options)


def test_a_run_replaces_one_on_pretrained_parts_and_leaves_nothing_of_it(parts, whole_run, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole_run, folder)
    train(TEXTS, "vae", folder, **SMALL, **parts, lora_rank=2, overwrite_output_dir=True)
    assert isinstance(load_tokenizer(str(folder)), TokenizerPair)
    train(TEXTS, "vae", folder, **SMALL, hidden_size=12, overwrite_output_dir=True)
    assert not isinstance(load_tokenizer(str(folder)), TokenizerPair)


def test_nothing_is_asked_of_a_mask_where_padding_is_the_end_symbol(whole_run, monkeypatch):
    warned: list = []
    monkeypatch.setattr("transformers.generation.utils.logger.warning_once", lambda *said: warned.append(said))
    vae = TextVaePipeline.from_pretrained(str(whole_run))
    config = vae.model.generation_config
    assert config.pad_token_id == config.eos_token_id
    batch = vae.tokenizer(TEXTS[:4], padding=True, return_tensors="pt")
    alone = vae.model.generate(batch["input_ids"])
    assert torch.equal(alone, vae.model.generate(batch["input_ids"], attention_mask=batch["attention_mask"]))
    assert torch.equal(alone, vae.model.generate(latents=vae.model.encode(batch["input_ids"])))
    assert not warned


def test_what_is_published_of_a_run_and_shown_in_a_space_has_both_tokenizers(whole_run, tmp_path, monkeypatch):
    published = {path.relative_to(whole_run).as_posix() for path in files_to_publish(whole_run)}
    assert {"tokenizer.json", "decoder_tokenizer/tokenizer.json"} <= published
    space = write_space([whole_run], tmp_path / "space", "title")
    vae = TextVaePipeline.from_pretrained(str(space / "models" / whole_run.name))
    assert isinstance(vae.tokenizer, TokenizerPair) and len(vae.sample(1, seed=1)) == 1
    monkeypatch.chdir(whole_run.parent)
    exec(re.findall(r"```python\n(.*?)```", (whole_run / "README.md").read_text("utf-8"), re.DOTALL)[0], {})


def test_a_model_whose_encoder_has_more_words_than_its_decoder_is_evaluated(parts, whole_run, tmp_path):
    data = DataArguments(validation_file=str(tmp_path / "v.txt"))
    (tmp_path / "v.txt").write_text("\n".join(TEXTS[:20]) + "\n", encoding="utf-8")
    metrics = TextMetricArguments(nll_samples=2)
    results, _ = evaluate_text_model(EvaluationArguments(str(whole_run), split="validation"), data, metrics)
    assert results["eval_kl"] > 0 and results["eval_sentences"] == 20


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"encoder": "pretrained"}, "encoder pretrained is a network by name: use encoder_name_or_path"),
        ({"decoder": "pretrained"}, "decoder pretrained is a network by name: use decoder_name_or_path"),
        ({"encoder": "given", "encoder_hidden_size": 8}, "encoder given reads states of sentences"),
    ],
)
def test_a_choice_without_its_network_says_which_parameter_names_it(choice, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        train(TEXTS, "vae", tmp_path / "out", **SMALL, **choice)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_what_an_lstm_starts_from_does_not_go_with_a_pretrained_part(parts, part, whole_run, tmp_path):
    named = {f"{part}_name_or_path": parts[f"{part}_name_or_path"]}
    for other in ({"pretrained_encoder": str(whole_run)}, {"initial_word_vectors": "glove.txt"}):
        with pytest.raises(ValueError, match=f"{next(iter(other))} .* leave out either it or {part}_name_or_path"):
            train(TEXTS, "vae", tmp_path / "out", **SMALL, **named, **other)


def test_an_lstm_does_not_start_from_a_pretrained_encoder(whole_run, tmp_path):
    with pytest.raises(ValueError, match="has encoder pretrained and the arguments say lstm"):
        train(TEXTS, "vae", tmp_path / "out", **SMALL, hidden_size=12, pretrained_encoder=str(whole_run))


@pytest.mark.parametrize("trained", ["frozen", "full"])
def test_an_encoder_whose_tokenizer_has_no_padding_is_trained_and_read_in_batches(parts, trained, tmp_path):
    named = {"encoder_name_or_path": parts["decoder_name_or_path"], "encoder_pooling": "last"}
    vae = train(TEXTS, "vae", tmp_path / "out", **SMALL, **named, train_encoder=trained, hidden_size=12)
    alone, together = vae.encode([TEXTS[0]]), vae.encode([TEXTS[0], TEXTS[3]])[:1]
    assert vae.tokenizer.pad_token_id is None and len(TEXTS[0].split()) < len(TEXTS[3].split())
    of_nothing = vae.encode_embeddings(torch.zeros(1, 16))
    torch.testing.assert_close(vae.encode([""]), of_nothing)
    torch.testing.assert_close(vae.encode(["", TEXTS[0]])[:1], of_nothing)
    torch.testing.assert_close(alone, together)


def test_a_name_on_the_hub_gives_both_tokenizers_as_its_folder_does(whole_run, tmp_path, monkeypatch):
    commit, blob = "0" * 40, tmp_path / "models--someone--vae"
    shutil.copytree(whole_run, blob / "snapshots" / commit)
    (blob / "refs").mkdir()
    (blob / "refs" / "main").write_text(commit)
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert isinstance(load_tokenizer("someone/vae"), TokenizerPair)


CONFIGS = {
    "encoder_config": AutoConfig.for_model("bert", **SIZES, max_position_embeddings=20),
    "decoder_config": AutoConfig.for_model("llama", **SIZES, max_position_embeddings=24),
}


def save_configs(folder, *chosen: str) -> dict[str, str]:
    for name in chosen:
        (folder / name).mkdir()
        CONFIGS[name].save_pretrained(folder / name)
    return {name: str(folder / name / "config.json") for name in chosen}


@pytest.mark.parametrize("chosen", [("encoder_config",), ("decoder_config",), tuple(CONFIGS)])
def test_networks_are_trained_from_scratch_on_the_tokenizer_of_the_run(chosen, tmp_path):
    named = save_configs(tmp_path, *chosen)
    options = SMALL | {"num_train_epochs": 6} | ({} if "decoder_config" in chosen else {"hidden_size": 12})
    vae = train(TEXTS, "matched_vae", tmp_path / "out", **options, **named)
    config = vae.model.config
    words = 4 + len({word for text in TEXTS for word in text.split()})
    for part in ("encoder", "decoder"):
        assert getattr(config, part) == ("pretrained" if f"{part}_config" in chosen else "lstm")
    for name in chosen:
        assert getattr(config, name).vocab_size == words == config.vocab_size
    assert all(parameter.requires_grad for parameter in vae.model.parameters())
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    # Uniform guesses of every word would cost log(words) nats each.
    assert results["eval_rec"] < math.log(words) * sum(len(text.split()) + 1 for text in TEXTS) / len(TEXTS)
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out"))
    assert again.reconstruct(TEXTS[:3]) == vae.reconstruct(TEXTS[:3])


def test_a_network_from_scratch_stands_beside_a_pretrained_one(parts, tmp_path):
    named = save_configs(tmp_path, "decoder_config") | {"encoder_name_or_path": parts["encoder_name_or_path"]}
    vae = train(TEXTS, "bn_vae", tmp_path / "out", **SMALL, **named)
    assert isinstance(vae.tokenizer, TokenizerPair) and vae.model.config.decoder_lora is None
    assert vae.sample(2, seed=1) == TextVaePipeline.from_pretrained(str(tmp_path / "out")).sample(2, seed=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder_name_or_path": "PARTS"}, "encoder_config starts from no weights .*: leave out one of them"),
        ({"method": "cnn_vae"}, "decoder_config stands in the place of the LSTM, and method cnn_vae has the decoder"),
        ({"train_encoder": "full"}, "train_encoder is read with encoder_name_or_path only"),
        ({"decoder_config": "ENCODER"}, "decoder_config: .* is a bert model, which is no causal language model"),
        ({"decoder_config": "/nowhere/at/all"}, "^decoder_config /nowhere/at/all: no model there"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is said by the configuration of decoder_config: leave"),
    ],
)
def test_configurations_that_cannot_be_are_refused(parts, changes, said, tmp_path):
    named = save_configs(tmp_path, *CONFIGS)
    places = {"PARTS": parts["encoder_name_or_path"], "ENCODER": named["encoder_config"]}
    changes = {name: places.get(value, value) for name, value in changes.items()}
    with pytest.raises(ValueError, match=said):
        train(TEXTS, **{"method": "vae", "output_dir": tmp_path / "out"} | SMALL | named | changes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("encoder_config", "have up to 32 tokens, and the encoder has positions for 20: cut texts by max_length 20"),
        ("decoder_config", "have up to 32 tokens, and the decoder has positions for 16: cut texts by max_length 16"),
    ],
)
def test_texts_longer_than_a_network_reads_are_refused_with_the_length_that_it_does(name, said, tmp_path):
    texts = [*TEXTS, "the food " * 15]
    named = save_configs(tmp_path, name)
    with pytest.raises(ValueError, match=said):
        train(texts, "vae", tmp_path / "out", **SMALL, **named)
    train(texts, "vae", tmp_path / "out", **SMALL | {"num_train_epochs": 1}, **named, max_length=int(said[-2:]))


@pytest.mark.parametrize(("architecture", "reads"), [("bert", 20), ("roberta", 19), ("mpnet", 19)])
def test_a_text_is_as_long_as_its_encoder_has_positions_for(architecture, reads, parts, tmp_path, caplog):
    name = tmp_path / "encoder"
    shutil.copytree(parts["encoder_name_or_path"], name)
    sizes = SIZES | {"vocab_size": 18, "max_position_embeddings": 20}
    AutoModel.from_config(AutoConfig.for_model(architecture, **sizes, pad_token_id=0)).save_pretrained(name)
    options = SMALL | {"num_train_epochs": 1, "encoder_name_or_path": str(name), "hidden_size": 12}
    with pytest.raises(ValueError, match=f"the encoder has positions for {reads}: cut texts by max_length {reads}"):
        train([*TEXTS, "food " * 19], "vae", tmp_path / "out", **options)
    vae = train([*TEXTS, "food " * (reads - 2)], "vae", tmp_path / "out", **options)
    torch.testing.assert_close(vae.encode(["food " * 30]), vae.encode(["food " * (reads - 2)]))
    assert f"1 of 1 texts have more than {reads} tokens and were cut" in caplog.text
    for model in (tmp_path / "out", name):
        long, cut = (encode_texts(str(model), ["food " * words], 200, 8) for words in (30, reads - 2))
        np.testing.assert_allclose(long, cut, rtol=1e-5, atol=1e-6)
    (tmp_path / "test.txt").write_text("food " * 30)
    with pytest.raises(ValueError, match=f"positions for {reads}: cut texts by `max_length` {reads}"):
        evaluate_text_model(
            EvaluationArguments(str(tmp_path / "out")),
            DataArguments(test_file=str(tmp_path / "test.txt")),
            TextMetricArguments(),
        )


@pytest.mark.parametrize("trained", ["frozen", "full"])
def test_a_streamed_corpus_is_read_by_two_tokenizers(parts, trained, tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text("\n".join(TEXTS[: 120 if split == "train" else 30]) + "\n")
    files = {f"{split}_file": str(tmp_path / f"{split}.txt") for split in ("train", "validation")}
    line = SMALL | parts | files | {"method": "matched_vae", "train_encoder": trained, "max_length": 20}
    argv = [text for name, value in line.items() for text in (f"--{name}", str(value))]
    train_command([*argv, "--streaming", "--train_decoder", "full", "--output_dir", str(tmp_path / "out")])
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["train_sentences"] == 120 and math.isfinite(results["eval_elbo"])
    assert TextVaePipeline.from_pretrained(str(tmp_path / "out")).reconstruct(TEXTS[:2])


def test_skip_vae_on_a_pretrained_decoder_adds_z_to_its_outputs(parts, tmp_path):
    vae = train(TEXTS, "skip_vae", tmp_path / "out", **SMALL, **parts, train_decoder="full")
    assert vae.model.config.decoder == "pretrained" and vae.model.config.decoder_skip
    again = TextVaePipeline.from_pretrained(str(tmp_path / "out"))
    torch.testing.assert_close(again.model.decoder.latent_to_outputs.weight, vae.model.decoder.latent_to_outputs.weight)
    assert again.reconstruct(TEXTS[:2]) == vae.reconstruct(TEXTS[:2])
    with pytest.raises(ValueError, match="decoder_skip is read by the decoder pretrained only"):
        train(TEXTS, "bn_vae", tmp_path / "other", **SMALL, decoder_skip=True)


def test_the_latent_space_of_two_tokenizers_is_scored_on_what_is_written(parts, tmp_path):
    named = {"encoder_name_or_path": parts["encoder_name_or_path"], "tokenizer": "char"}
    vae = train(TEXTS, "matched_vae", tmp_path / "out", **SMALL, **named, hidden_size=12)
    space = read_latent_space(vae, TEXTS[:20])
    columns = encoded_columns(TEXTS[:20], vae.tokenizer, 64)
    rows = [{name: columns[name][row] for name in ("input_ids", "labels")} for row in range(20)]
    expected = infer(vae.model, [VaeCollator(vae.tokenizer.pad_token_id)(rows)])
    assert space.metrics["rec"] == pytest.approx(elbo_metrics(expected)["rec"], rel=1e-4)
    assert space.lengths.tolist() == [len(text) + 1 for text in TEXTS[:20]]
