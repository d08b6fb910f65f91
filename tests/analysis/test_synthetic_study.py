"""The report of a synthetic study: its sentences follow its numbers."""

import pytest

from hf_bnvae.analysis.synthetic_study import COLUMNS, Setting, StudyRun, study_report, study_sentences, study_table

DATA = {
    "train_sequences": 16_000,
    "points": 500,
    "true_information": 2.345,
    "true_deviation": 0.14,
    "true_correlation": 0.987,
}


def run(gamma, batch_size=32, **changes):
    results = dict.fromkeys(COLUMNS, 0.5) | {"test_kl": 0.001 if gamma is None else gamma**2} | changes
    return StudyRun(Setting(gamma, batch_size), results)


def test_the_table_has_a_row_a_run_and_the_report_all_of_it():
    runs = [run(1.0, 16), run(1.0, 32), run(0.3, slope=0.777), run(None)]
    rows = study_table(runs).splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| BN-VAE (γ = 1)", "16"],
        ["| BN-VAE (γ = 1)", "32"],
        ["| BN-VAE (γ = 0.3)", "32"],
        ["| VAE", "32"],
    ]
    assert "| 0.78 |" in rows[2]
    report = study_report(runs, DATA, "run_synthetic.py --seed 3", 800, 61.4)
    assert study_table(runs) in report and all(sentence in report for sentence in study_sentences(runs))
    assert "`run_synthetic.py --seed 3`" in report and "2.35 nats" in report and "in 61 seconds" in report


def test_a_run_is_collapsed_when_its_kl_says_so():
    first, second, *_ = study_sentences([run(1.0), run(1.0, 64, test_kl=0.004), run(None)])
    assert first.startswith("BN-VAE (γ = 1): 1 of 2 runs end with a KL below")
    assert "(0.004 to 1.000)" in first
    assert second.startswith("VAE: 1 of 1 runs end") and "(0.001)" in second


@pytest.mark.parametrize(("slow", "said"), [(0.1, "the two rises with"), (0.9, "the two does not rise with")])
def test_a_trend_is_said_as_it_is(slow, said):
    sentences = study_sentences([run(1.0, correlation=0.8), run(0.1, correlation=slow), run(None)])
    (trend,) = (sentence for sentence in sentences if "the correlation of the two" in sentence)
    assert said in trend and f"({slow:.2f}, 0.80)" in trend


def test_the_bound_of_a_method_is_the_mean_over_its_batch_sizes():
    runs = [run(1.0, 16, test_elbo=50.0), run(1.0, 32, test_elbo=51.0), run(None, 16), run(None, 32)]
    assert "BN-VAE (γ = 1) 50.50, VAE 0.50" in study_sentences(runs)[-1]
