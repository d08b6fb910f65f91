"""The comparison: it trains what is not done, goes on after a failure, and refuses to mix."""

import fcntl

import pytest

from hf_bnvae.cli import compare
from hf_bnvae.cli.errors import UsageError
from tests.helpers import flags


def arguments(corpus, folder, methods, **changes):
    return [*flags(corpus, folder, num_train_epochs=1, nll_samples=2, **changes), "--methods", methods]


def test_a_comparison_is_resumable_and_outlives_a_failing_method(corpus, tmp_path, capsys):
    folder = tmp_path / "comparison"
    with pytest.raises(
        UsageError, match=r"1 of 2 runs failed: vmf_vae:free_bits=2, seed 1, failed: .*KL is a constant"
    ):
        compare.main(arguments(corpus, folder, "vmf_vae:free_bits=2,ae+bn_vae:gamma=0.5"))
    table = (folder / "comparison.md").read_text(encoding="utf-8")
    assert "| ae+bn_vae:gamma=0.5 |" in table and "failed" in table
    results = folder / "runs" / "ae+bn_vae:gamma=0.5" / "seed_1" / "all_results.json"
    written = results.stat().st_mtime_ns
    compare.main(arguments(corpus, folder, "ae,ae+bn_vae:gamma=0.5"))
    assert results.stat().st_mtime_ns == written
    assert "| ae |" in (folder / "comparison.md").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="holds runs made with other flags"):
        compare.main(arguments(corpus, folder, "ae", learning_rate=0.1))


@pytest.mark.parametrize(
    ("methods", "changes", "message"),
    [
        ("vae,nonsense", {}, "no method 'nonsense'"),
        ("vae:gamma", {}, "'gamma' in 'vae:gamma' must be PARAMETER=VALUE"),
        ("vae", {"seeds": "1,x"}, "--seeds must be whole numbers"),
        ("vae", {"seed": 3}, "--seed: a comparison sets this flag"),
        ("vae:seed=7", {}, "seed in 'vae:seed=7': a comparison sets this parameter"),
        ("vae,vae", {}, "--methods names one of them twice"),
        ("vae", {"seeds": "1,1"}, "--seeds names one of them twice"),
        ("vae", {"seeds": "1,-1"}, "--seeds must be from 0 to 4294967295, got -1"),
        ("vae,bn_vae:foo=3", {}, "--methods bn_vae:foo=3: unknown flags: --foo"),
        ("vae,bn_vae:rate=abc", {}, "--methods bn_vae:rate=abc: --rate: invalid float value: 'abc'"),
        ("vae,bn_vae:gamma=0.6:rate=4", {}, "--methods bn_vae:gamma=0.6:rate=4: "),
        ("vae,ae:learning_rate=-1+vae", {}, "--methods ae:learning_rate=-1: --learning_rate must be"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(corpus, tmp_path, methods, changes, message):
    with pytest.raises(UsageError, match=message):
        compare.main(arguments(corpus, tmp_path / "out", methods, **changes))
    assert not (tmp_path / "out").exists()


def test_words_that_belong_to_no_flag_are_refused_before_any_run(corpus, tmp_path):
    with pytest.raises(UsageError, match="--methods vae: unknown flags: left over"):
        compare.main([*arguments(corpus, tmp_path / "out", "vae"), "--seeds", "1", "--output_dir", "o", "left", "over"])


def test_methods_and_seeds_may_be_separated_by_spaces(corpus, tmp_path, monkeypatch):
    runs = []

    def fail(entry, seed, output_dir, shared):
        runs.append((entry.text, seed))
        raise compare.RunFailed("it does")

    monkeypatch.setattr(compare, "train_entry", fail)
    with pytest.raises(UsageError, match="no run of ae,vae,bn_vae succeeded"):
        compare.main([*arguments(corpus, tmp_path / "a folder", "ae,vae"), "bn_vae", "--seeds", "1", "2"])
    assert runs == [(method, seed) for method in ("ae", "vae", "bn_vae") for seed in (1, 2)]


def test_the_flags_of_runs_on_another_device_are_looked_at_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.is_available", lambda *_: True)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: pytest.fail("the device is taken"))
    monkeypatch.setattr("hf_bnvae.training.arguments.bf16_pays", lambda: False)
    compare.check_entry(compare.parse_method("vae"), tmp_path, ["--bf16", "true"])


def test_a_comparison_that_trained_nothing_holds_nobody_to_its_flags(corpus, tmp_path):
    with pytest.raises(UsageError, match="no run of ae succeeded"):
        compare.main(arguments(tmp_path / "nowhere", tmp_path / "out", "ae"))
    compare.main(arguments(corpus, tmp_path / "out", "ae"))
    assert (tmp_path / "out" / "comparison.md").is_file()


def test_one_broken_run_does_not_stop_the_others(corpus, tmp_path):
    for method in ("ae", "vae"):
        folder = tmp_path / "runs" / method / "seed_1"
        folder.mkdir(parents=True)
        (folder / "all_results.json").write_text('{"train_seconds_without_evaluation": 1.0, "test_elbo": 2.0}')
        (folder / "trainer_state.json").write_text('{"log_history": []}')
    (tmp_path / "runs" / "ae" / "seed_1" / "all_results.json").write_text("")
    with pytest.raises(UsageError, match=r"1 of 2 runs failed: ae, seed 1, failed: .*all_results\.json is missing or"):
        compare.main(arguments(corpus, tmp_path, "ae,vae"))
    assert "| vae | **2.00** |" in (tmp_path / "comparison.md").read_text()
    (tmp_path / "flags.json").write_text("")
    with pytest.raises(UsageError, match=r"flags\.json cannot be read: remove it if"):
        compare.main(arguments(corpus, tmp_path, "vae"))


def test_two_comparisons_do_not_write_into_one_folder(corpus, tmp_path):
    with (tmp_path / ".lock").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"--output_dir .*: another run writes there"):
            compare.main(arguments(corpus, tmp_path, "ae"))
    assert not (tmp_path / "flags.json").exists()


def test_a_language_model_goes_without_the_flags_of_a_latent():
    shared = ["--encoder-name-or-path", "E", "--decoder_skip", "--bow_weight=1", "--embeddings_file", "e.npy"]
    shared += ["--decorrelation", "2", "--free_bits=1", "--language_model", "L", "--prior-samples=9"]
    shared += ["--decoder-name-or-path", "D", "--max_steps=2"]
    assert compare.read_by(compare.parse_method("lm"), shared) == shared[-3:]
    assert compare.read_by(compare.parse_method("vae"), shared) == shared


@pytest.mark.parametrize(
    ("method", "flags", "kept"),
    [
        ("lm", ["--decoder_name_or_path", "D", "--save_base", "false"], True),
        ("lm", ["--decoder-name-or-path=D", "--train_decoder=lora", "--save_base", "false"], True),
        ("lm", ["--decoder_name_or_path", "D", "--train_decoder", "full", "--save_base", "false"], False),
        ("lm", ["--decoder_name_or_path", "D", "--train_decoder=full", "--no_save_base"], False),
        ("lm:train_decoder=full", ["--decoder_name_or_path", "D", "--save-base=false"], False),
        ("lm:decoder_name_or_path=D", ["--save_base", "false"], True),
        ("lstm_lm", ["--encoder_name_or_path", "E", "--save_base", "false"], False),
        ("vae", ["--decoder_name_or_path", "D", "--train_decoder", "full", "--save_base", "false"], True),
    ],
)
def test_a_language_model_without_frozen_weights_goes_without_the_flag_that_leaves_them_out(method, flags, kept):
    read = compare.read_by(compare.parse_method(method), ["--max_steps=2", *flags, "--seed_of", "3"])
    assert any("save" in text for text in read) == kept
    assert read[0] == "--max_steps=2" and read[-2:] == ["--seed_of", "3"]


@pytest.mark.parametrize(
    ("method", "part", "flag", "kept"),
    [
        ("lm", "decoder_name_or_path", "vocab_size", False),
        ("lm:decoder_name_or_path=D", "encoder_name_or_path", "tokenizer", False),
        ("lm", "encoder_name_or_path", "vocab_size", True),
        ("lm", "decoder_config", "vocab_size", True),
        ("vae", "decoder_name_or_path", "vocab_size", True),
        ("lm", "encoder_name_or_path", "pretrained_learning_rate", False),
        ("lm", "decoder_config", "pretrained_learning_rate", True),
        ("lm", "decoder_name_or_path", "pretrained_learning_rate", True),
    ],
)
def test_a_language_model_goes_without_what_its_parts_do_not_read(method, part, flag, kept):
    read = compare.read_by(compare.parse_method(method), [f"--{part}", "P", f"--{flag}", "9", "--max_steps=2"])
    assert (f"--{flag}" in read) == kept == ("9" in read) and read[-1] == "--max_steps=2"


def test_the_flags_of_a_comparison_may_stand_in_a_file(tmp_path):
    (tmp_path / "shared.yaml").write_text("methods: vae\nseed: 3\noutput_dir: out\n")
    with pytest.raises(UsageError, match="--seed: a comparison sets this flag"):
        compare.main([str(tmp_path / "shared.yaml")])
