"""`train_dialogue` in a notebook: from dialogues in any shape to a pipeline, as the command trains them."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from hf_bnvae import DialoguePipeline, train_dialogue
from hf_bnvae.cli.dialogue import main as command
from hf_bnvae.data import build_tokenizer
from hf_bnvae.data.toy_dialogues import toy_dialogues

SMALL = {
    "embedding_size": 6,
    "utterance_hidden_size": 5,
    "context_hidden_size": 6,
    "hidden_size": 8,
    "latent_size": 3,
    "max_steps": 2,
    "num_responses": 2,
    "num_cases": 1,
    "per_device_train_batch_size": 8,
    "disable_tqdm": True,
    "use_cpu": True,
}


def dialogues(split="train", count=20):
    return [[turn["text"] for turn in row["turns"]] for row in toy_dialogues()[split][:count]]


def test_dialogues_become_a_pipeline_whose_folder_loads_as_the_same_one(tmp_path):
    chat = train_dialogue(dialogues(), output_dir=tmp_path / "out", gamma=0.5, **SMALL)
    assert isinstance(chat, DialoguePipeline) and chat.model.config.gamma == 0.5
    context = ["do you have any pets ?", "yes , a dog ."]
    again = DialoguePipeline.from_pretrained(str(tmp_path / "out"))
    assert again.respond(context, num_responses=3) == chat.respond(context, num_responses=3)
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert results["train_steps"] == 2 and "eval_bleu_recall" in results
    assert (tmp_path / "out" / "samples.md").is_file()
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_tokenizer_and_callbacks_of_the_program_are_those_of_the_run(tmp_path):
    class Count(TrainerCallback):
        steps = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.steps += 1

    count, tokenizer = Count(), build_tokenizer(["a word", "do you have any pets ?"])
    given = {"tokenizer": tokenizer, "callbacks": [count], "num_responses": "0"}
    chat = train_dialogue(iter(dialogues()), output_dir=tmp_path / "out", **SMALL | given)
    assert count.steps == 2 and chat.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_the_command_trains_the_model_that_the_function_trains(tmp_path):
    splits = {"train": dialogues(), "test": dialogues("test", 4)}
    files = {}
    for split, rows in splits.items():
        path = tmp_path / f"{split}.jsonl"
        path.write_text("".join(json.dumps({"turns": turns}) + "\n" for turns in rows))
        files[f"{split}_file"] = str(path)
    options = SMALL | {"method": "cvae_bow", "eval_strategy": "no", "load_best_model_at_end": False}
    by_function = train_dialogue(
        {split: Dataset.from_dict({"turns": rows}) for split, rows in splits.items()},
        output_dir=tmp_path / "function",
        **options,
    )
    flags = {"output_dir": str(tmp_path / "command"), **files, **options}
    command([text for name, value in flags.items() for text in (f"--{name}", str(value))])
    by_command = DialoguePipeline.from_pretrained(str(tmp_path / "command"))
    for name, tensor in by_command.model.state_dict().items():
        assert torch.equal(by_function.model.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "bn_vae"}, "^method must be one of cvae, .*, got 'bn_vae'$"),
        ({"latent_sizes": 3}, "^unknown parameters: latent_sizes$"),
        ({"topic_size": 5}, "^topic_size is read with topic_embedding only"),
        ({"num_responses": 0, "word_vectors": "x"}, "^word_vectors is read with num_responses above 0 only"),
        ({"compare_with": ["nowhere"]}, "^compare_with nowhere: no model there"),
    ],
)
def test_an_error_is_one_sentence_that_names_parameters_and_no_flag(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence) as error:
        train_dialogue(dialogues(), output_dir=tmp_path / "out", **SMALL | changes)
    assert "--" not in str(error.value)
    assert not (tmp_path / "out").exists()
