"""The plane of the two means: what is said of its points, what a training shows of them, and the pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from hf_bnvae.analysis import MeanSpace, MeanSpaceCallback, animate_training, draw_sweep, draw_training
from hf_bnvae.analysis.mean_space import mean_space
from hf_bnvae.data import VaeCollator, synthetic_corpus
from hf_bnvae.evaluation import grid_posterior
from hf_bnvae.training import VaeTrainer, VaeTrainingArguments

POINTS = np.linspace(-1.5, 2.0, 40)


def space(model_mean, inference_mean, step=0):
    return MeanSpace(step, model_mean, inference_mean, 0.1)


def test_points_on_the_diagonal_agree_and_a_shift_keeps_their_correlation():
    found = space(POINTS, POINTS).statistics()
    assert found["correlation"] == pytest.approx(1) and found["slope"] == pytest.approx(1)
    assert found["diagonal_distance"] == 0 and found["model_mean_deviation"] == pytest.approx(POINTS.std())
    shifted = space(POINTS, -0.5 * POINTS + 3).statistics()
    assert shifted["correlation"] == pytest.approx(-1) and shifted["slope"] == pytest.approx(-0.5)
    assert shifted["diagonal_distance"] == pytest.approx(np.sqrt(((3 - 1.5 * POINTS) ** 2).mean()))


def test_collapsed_means_have_no_correlation():
    nothing = np.full_like(POINTS, 0.25)
    for model, inference in ((POINTS, nothing), (nothing, POINTS), (nothing, nothing)):
        found = space(model, inference).statistics()
        assert found["correlation"] == found["slope"] == 0


@pytest.fixture(scope="module")
def corpus():
    return synthetic_corpus(64)


def train(model, corpus, folder, steps_to_look_at):
    trainer = VaeTrainer(
        model,
        VaeTrainingArguments(
            output_dir=str(folder),
            max_steps=4,
            per_device_train_batch_size=8,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            kl_schedule="constant",
            disable_tqdm=True,
        ),
        train_dataset=corpus.splits["train"],
        data_collator=VaeCollator(pad_token_id=0),
    )
    look = MeanSpaceCallback(trainer, trainer.get_eval_dataloader(corpus.splits["test"]), steps_to_look_at)
    trainer.add_callback(look)
    trainer.train()
    return trainer, look.spaces


def test_looking_at_a_training_does_not_change_it(make_model, corpus, tmp_path):
    models = []
    for steps in ([], [0, 3, 4, 99]):
        torch.manual_seed(0)
        models.append(make_model(vocab_size=1004, latent_size=1))
        trainer, spaces = train(models[-1], corpus, tmp_path, steps)
    for before, after in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(before, after)
    assert [space.step for space in spaces] == [0, 3, 4]
    # The last one is that of the model as it ends.
    batches = list(trainer.get_eval_dataloader(corpus.splits["test"]))
    trainer.model.eval()
    np.testing.assert_allclose(spaces[-1].inference_mean, trainer.model.encode(**batches[0])[:, 0], atol=1e-5)
    np.testing.assert_allclose(spaces[-1].model_mean, grid_posterior(trainer.model, batches).mean, atol=1e-5)
    np.testing.assert_array_equal(mean_space(trainer.model, batches, 4).model_mean, spaces[-1].model_mean)


def test_the_pictures_have_a_panel_or_a_frame_for_each_step(tmp_path):
    steps = [space(POINTS * share, POINTS, step) for step, share in enumerate((0.1, 0.5, 1.0))]
    trainings = {"VAE": [space(item.model_mean, 0 * POINTS, item.step) for item in steps], "BN-VAE": steps}
    draw_training(trainings, POINTS, tmp_path / "figure1.png")
    draw_sweep(
        {title: {16: spaces[0], 32: spaces[-1]} for title, spaces in trainings.items()}, POINTS, tmp_path / "2.png"
    )
    widths = [Image.open(tmp_path / name).width for name in ("figure1.png", "2.png")]
    assert widths[0] > widths[1]
    animate_training(trainings, POINTS, tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as animation:
        assert animation.n_frames >= 3
