"""The demos: what their flags reach."""

import pytest

from hf_bnvae.cli import demo, demo_dialogue


@pytest.mark.parametrize(("script", "trains"), [(demo, demo.train), (demo_dialogue, demo_dialogue.dialogue)])
@pytest.mark.parametrize(("flag", "expected"), [([], "False"), (["--overwrite_output_dir", "true"], "True")])
def test_a_demo_hands_its_flags_to_every_training(script, trains, flag, expected, tmp_path, monkeypatch):
    """Each message on a folder with a run says that this flag replaces it."""
    commands = []

    class Enough(Exception):
        pass

    def train(argv):
        commands.append(argv)
        raise Enough

    monkeypatch.setattr(trains, "main", train)
    with pytest.raises(Enough):
        script.main(["--output_dir", str(tmp_path), "--seed", "7", "--num_train_epochs", "2", *flag])
    flags = dict(zip(commands[0][::2], commands[0][1::2], strict=True))
    assert (flags["--seed"], flags["--num_train_epochs"], flags["--overwrite_output_dir"]) == ("7", "2.0", expected)
