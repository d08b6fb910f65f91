"""The methods of a comparison: a text says the same as its parts, and has a folder of its own."""

from pathlib import Path

import pytest

from hf_bnvae.errors import ParameterError
from hf_bnvae.methods import DIALOGUE_METHODS, METHODS
from hf_bnvae.runs.comparison import SET_FOR_EACH_RUN, parse_method


@pytest.mark.parametrize("method", METHODS)
def test_a_text_is_put_together_of_what_it_was_read_as(method):
    for text in (method, f"{method}:kl_weight=0.5:seed_of=1+2", f"ae+vae:free_bits=4+{method}:gamma=1"):
        parts, entry = [], parse_method(text)
        while entry is not None:
            (_, name), *others = entry.parameters
            parts.insert(0, ":".join([name, *(f"{parameter}={value}" for parameter, value in others)]))
            entry = entry.first
        assert "+".join(parts) == text
        assert parse_method(f" {text} ") == parse_method(text)


def test_runs_of_other_methods_or_seeds_stand_in_other_folders():
    entries = [parse_method(text) for text in ("vae", "vae:encoder_name_or_path=a/b", "ae+vae")]
    folders = {entry.folder(Path("out"), seed) for entry in entries for seed in (1, 2)}
    assert len(folders) == 6 and {folder.parents[1] for folder in folders} == {Path("out", "runs")}


def test_a_folder_has_the_method_s_text_for_its_name_and_on_windows_what_may_stand_there(monkeypatch):
    entry = parse_method("vae:encoder_name_or_path=a/b:kl_weight=1")
    assert entry.folder(Path("out"), 1).parent.name == "vae:encoder_name_or_path=a_b:kl_weight=1"
    monkeypatch.setattr("sys.platform", "win32")
    assert entry.folder(Path("out"), 1).parent.name == "vae_encoder_name_or_path=a_b_kl_weight=1"


def test_a_text_that_is_too_long_for_a_folder_s_name_is_refused():
    assert parse_method("vae:text_column=" + "a" * 239).text
    for name in ("a" * 240, "é" * 120):
        with pytest.raises(ParameterError, match=r"vae:text_column=.* is too long to name a folder"):
            parse_method(f"vae:text_column={name}")


@pytest.mark.parametrize("parameter", [*SET_FOR_EACH_RUN, "push_to_hub", "hub_model_id"])
def test_what_a_comparison_does_itself_is_no_parameter_of_a_method(parameter):
    with pytest.raises(ParameterError, match=parameter):
        parse_method(f"vae:{parameter}=1")


def test_methods_of_dialogue_are_read_where_they_are_asked_for():
    assert dict(parse_method("matched_cvae:rate=8", DIALOGUE_METHODS).parameters) == {
        "method": "matched_cvae",
        "rate": "8",
    }
    with pytest.raises(ParameterError, match="no method 'matched_cvae'"):
        parse_method("matched_cvae:rate=8")
