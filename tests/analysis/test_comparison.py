"""Tables and pictures of finished runs."""

import csv
import json

import pytest

from hf_bnvae.analysis import (
    Run,
    draw_rate_distortion,
    rate_curves,
    read_run,
    results_table,
    time_table,
    write_comparison,
)
from hf_bnvae.analysis.comparison import RunError, tradeoff_points


def run(method, seed, nll, mi=1.0, seconds=10.0):
    history = [{"step": step, "eval_elbo": 9.0, "eval_mi": mi, "eval_kl": 2.0, "eval_agg_kl": 0.5} for step in (5, 10)]
    return Run(method, seed, {"nll": nll, "kl": 2.0, "mi": mi, "au": 3}, seconds, history)


def test_the_table_has_mean_and_deviation_and_the_best_in_bold():
    table = results_table(
        [run("vae", 1, 10.0), run("vae", 2, 12.0), run("bn_vae", 1, 9.0, 2), run("bn_vae", 2, 9.0, 4)]
    )
    header, _, vae, bn_vae = table.splitlines()
    assert header == "| method | NLL | KL | MI | AU |"
    assert vae == "| vae | 11.00 ± 1.41 | 2.00 ± 0.00 | 1.00 ± 0.00 | **3.0** ± 0.00 |"
    assert bn_vae == "| bn_vae | **9.00** ± 0.00 | 2.00 ± 0.00 | **3.00** ± 1.41 | **3.0** ± 0.00 |"


def test_times_are_relative_to_the_plain_vae():
    lines = time_table([run("bn_vae", 1, 9.0, seconds=31.2), run("vae", 1, 9.0, seconds=30.0)]).splitlines()
    assert lines[2:] == ["| bn_vae | 31 | 1.04 |", "| vae | 30 | 1.00 |"]


def test_a_run_is_read_with_its_time_to_the_best_model(tmp_path):
    results = {"test_nll": 5.0, "test_elbo": 6.0, "eval_elbo": 7.0, "train_seconds_without_evaluation": 100.0}
    state = {
        "best_global_step": 40,
        "log_history": [
            {"loss": 1},
            {"eval_elbo": 7.0, "step": 40},
            {"eval_elbo": 7.0, "step": 40, "train_seconds": 80.0},
        ],
    }
    (tmp_path / "all_results.json").write_text(json.dumps(results))
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    found = read_run(tmp_path, "vae", 3, pretraining_seconds=7.0)
    assert found.results == {"nll": 5.0, "elbo": 6.0}
    assert found.seconds == pytest.approx(87.0) and len(found.history) == 1


@pytest.mark.parametrize("name", ["all_results.json", "trainer_state.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", "null"])
def test_a_broken_file_of_a_run_is_named(tmp_path, name, content):
    (tmp_path / "all_results.json").write_text('{"train_seconds_without_evaluation": 1.0}')
    (tmp_path / "trainer_state.json").write_text('{"log_history": []}')
    assert read_run(tmp_path, "vae", 1).seconds == 1
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=f"{name} is missing or broken: remove all_results.json from its folder"):
        read_run(tmp_path, "vae", 1)


def test_the_folder_gets_tables_a_csv_and_pictures(tmp_path):
    runs = [run("vae", 1, 10.0), run("bn_vae:gamma=0.6", 1, 9.0)]
    write_comparison(runs, tmp_path, "compare.py --methods ...", ["One run failed."])
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert results_table(runs) in text and time_table(runs) in text and "One run failed." in text
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["vae", "bn_vae:gamma=0.6"] and rows[1]["nll"] == "9.0"
    for name in ("dynamics.png", "tradeoff.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_method_far_from_the_others_is_kept_out_of_their_picture():
    runs = [
        run("vae", 1, 10.0, mi=0.5),
        run("vae", 2, 11.0, mi=0.7),
        run("bn_vae", 1, 11.5, mi=5.0),
        run("ae", 1, 90.0),
    ]
    points, far = tradeoff_points([*runs, Run("lstm_lm", 1, {"nll": 1.0}, 1.0, [])])
    assert points == {"vae": pytest.approx((0.6, 10.5)), "bn_vae": (5.0, 11.5)} and far == {"ae": 90.0}


def test_a_method_s_rates_are_one_curve_and_the_ends_are_marked(tmp_path):
    def at(method, seed, **results):
        return Run(method, seed, results, 1.0, [])

    runs = [
        at("bn_vae:rate=8", 1, kl=8.0, mi=5.0, rec=30.0, use=6.0),
        at("bn_vae:rate=8", 2, kl=10.0, mi=6.0, rec=32.0, use=7.0),
        at("bn_vae:rate=4", 1, kl=4.0, mi=3.0, rec=35.0, use=3.0),
        at("vae", 1, kl=0.0, mi=0.0, rec=38.0, use=0.0),
        at("lstm_lm", 1, kl=0.0, mi=0.0, rec=37.5),
        at("ae", 1, kl=190.0, mi=7.5, rec=5.0, use=90.0),
        at("ae:num_train_epochs=2+fb_vae:free_bits=4", 1, kl=5.0, mi=3.0, rec=34.0, use=2.0),
        at("ae+fb_vae:lr_scheduler_kwargs=a+b", 1, kl=6.0, mi=4.0, rec=33.0, use=3.0),
    ]
    assert rate_curves(runs, "kl", "rec") == {
        "bn_vae": [(4.0, 35.0), (9.0, 31.0)],
        "vae": [(0.0, 38.0)],
        "ae": [(190.0, 5.0)],
        "ae+fb_vae": [(5.0, 34.0), (6.0, 33.0)],
    }
    draw_rate_distortion(runs, tmp_path / "a.png")
    draw_rate_distortion([run for run in runs if run.method == "lstm_lm"], tmp_path / "b.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("a.png", "b.png"))


def test_pictures_leave_the_callers_matplotlib_as_it_was(tmp_path):
    import matplotlib

    matplotlib.use("svg")
    before = dict(matplotlib.rcParams)
    write_comparison([run("vae", 1, 10.0), run("bn_vae", 1, 9.0, 2)], tmp_path, "compare")
    assert (tmp_path / "dynamics.png").stat().st_size > 0 and (tmp_path / "tradeoff.png").stat().st_size > 0
    assert dict(matplotlib.rcParams) == before and matplotlib.get_backend() == "svg"
