"""The benchmarks run, and print what they promise."""

import importlib
import json
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from hf_bnvae import BnVaeConfig, BnVaeForConditionalGeneration
from hf_bnvae.data import build_tokenizer, load_corpus

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted({path.stem for path in BENCHMARKS.glob("*.py")} - {"measure", "evidence_blocks"})
TINY = {"embedding_size": 8, "hidden_size": 8, "vocab_size": 50}


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def small_peak(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark("measure"), "PEAK_SIZES", {"cpu": 64})


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_explains_itself(benchmark, name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        benchmark(name).main()
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_training_throughput_says_where_it_levels_off_and_what_bf16_gains(
    benchmark, small_peak, monkeypatch, capsys, tmp_path
):
    script = benchmark("train_throughput")
    monkeypatch.setattr(script, "SIZES", {"tiny": ("yahoo", 80, TINY)})
    # As if every CPU had bf16, in which some have no LSTM at all.
    monkeypatch.setattr(benchmark("measure"), "bf16_pays", lambda: True)
    monkeypatch.setattr(script, "autocast", lambda precision, device: nullcontext())
    path = tmp_path / "figures.json"
    flags = ["--sizes", "tiny", "--device", "cpu", "--steps", "2", "--batch_sizes", "4", "2"]
    script.main([*flags, "--precisions", "fp32", "bf16", "--json_file", str(path)])
    printed = capsys.readouterr().out
    assert "bf16 levels off at batch" in printed
    assert "batch 2: bf16 over fp32" in printed
    figures = json.loads(path.read_text())["tiny"]
    assert figures["bf16 over fp32 at batch 2"] > 0
    assert figures["bf16: share of the bf16 peak there"] > 0


def test_throughput_levels_off_at_the_smallest_batch_near_the_best(benchmark):
    script = benchmark("train_throughput")
    speeds = [script.Speed(batch, tokens, 0, 1, 1, None) for batch, tokens in ((32, 50), (64, 96), (128, 100))]
    assert script.levelling(speeds).batch_size == 64


def test_the_likelihood_s_products_are_of_the_type_that_is_named(benchmark, small_peak, monkeypatch, capsys):
    script = benchmark("nll_throughput")
    monkeypatch.setattr(script, "SIZES", {"tiny": (3, TINY)})
    script.main(["--sizes", "tiny", "--device", "cpu", "--num_samples", "2", "--repeats", "1", "--precisions", "fp32"])
    assert capsys.readouterr().out.rstrip().endswith("float32")


def test_memory_is_over_the_logits(benchmark, monkeypatch, capsys, tmp_path):
    script = benchmark("memory")
    monkeypatch.setattr(script, "apart", lambda call, device, precision, rows, length, settings: 8 * rows * length * 50)
    path = tmp_path / "figures.json"
    flags = ["--batch_sizes", "2", "--num_samples", "3", "--lengths", "4", "--vocab_sizes", "50"]
    script.main([*flags, "--device", "cpu", "--precisions", "fp32", "--json_file", str(path)])
    assert "NLL of a sentence, fp32" in capsys.readouterr().out
    assert set(json.loads(path.read_text()).values()) == {2.0}


def test_a_process_of_its_own_measures_what_a_call_adds(benchmark):
    added = benchmark("measure").apart(
        benchmark("memory").training_step,
        torch.device("cpu"),
        "fp32",
        64,
        32,
        TINY | {"vocab_size": 4000, "latent_size": 4},
    )
    logits = 4 * 64 * 32 * 4000
    assert 0.1 * logits < added < 10 * logits


def test_exponents_are_slopes_of_logarithms(benchmark):
    script = benchmark("growth")
    assert script.exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2)


def test_growth_says_what_is_above_linear(benchmark, monkeypatch, capsys):
    script = benchmark("growth")
    monkeypatch.setattr(script, "apart", lambda call, device, workload, name, value: workload(device, **{name: value}))
    rows = [row for row in script.QUANTITIES if row[2] in (script.training_step, script.likelihood)]
    rows.append(("squares", "made up", lambda device, n: (n**2, n << 30), "n", 16))
    monkeypatch.setattr(script, "QUANTITIES", rows)
    script.main(["--quick", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert all(row[0] in printed for row in rows)
    assert "squares, made up: exponent of time" in printed.splitlines()[-2]


def test_the_parts_of_a_step_make_it_whole(benchmark, small_peak, monkeypatch, capsys):
    script = benchmark("step_profile")
    monkeypatch.setattr(script, "SIZES", {"tiny": ("yahoo", 9, TINY)})
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    script.main(["--sizes", "tiny", "--steps", "2", "--batch_size", "4"])
    ratio, share, *parts = map(float, capsys.readouterr().out.splitlines()[-1].split()[1:])
    assert ratio > 0 and share >= 0
    assert sum(parts) == pytest.approx(1, abs=0.05) and len(parts) == len(script.PARTS) + 1


def test_a_tolerance_is_held_against_all_samples(benchmark, tmp_path, capsys):
    corpus = load_corpus("toy_sentences", splits=("test",))
    tokenizer = build_tokenizer(corpus.splits["test"]["text"])
    sizes = TINY | {"vocab_size": len(tokenizer), "latent_size": 2, "encoder_hidden_size": 8}
    BnVaeForConditionalGeneration(BnVaeConfig(**sizes)).save_pretrained(tmp_path / "made")
    tokenizer.save_pretrained(tmp_path / "made")
    few = ["--sentences", "4", "--num_samples", "20", "--tolerances", "0", "9", "--repeats", "1"]
    benchmark("nll_tolerance").main([str(tmp_path / "made"), *few])
    none, huge = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert none[:2] == ["0", "20"] and float(none[-1]) == 0
    assert huge[:2] == ["9", "16"]


def test_a_start_is_over_that_of_torch(benchmark, monkeypatch, capsys):
    script = benchmark("startup")
    taken = {"import torch": 2.0, "import torch, hf_bnvae": 3.0}
    monkeypatch.setattr(script, "started", lambda arguments, cache: taken[arguments[0]])
    script.main(["--rounds", "3", "--starts", "import hf_bnvae"])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["import", "hf_bnvae", "3.00", "1.00", "1.50"]


def test_the_summary_holds_figures_against_their_targets(benchmark, tmp_path, capsys):
    figures = {"yahoo 512/1024/32": {"bf16: share of the bf16 peak": 0.7}}
    (tmp_path / "nll.json").write_text(json.dumps(figures))
    (tmp_path / "convergence.json").write_text(json.dumps({"minutes to convergence": 12.0}))
    benchmark("gpu_summary").main([str(tmp_path)])
    lines = {line[:40].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert lines["NLL, share of the bf16 peak"].endswith(" met")
    assert lines["Yahoo, minutes to convergence"].endswith("missed")
    assert lines["NLL, bf16 over fp32, nats"].endswith("not measured")


def test_gpu_sh_is_a_script_and_names_its_stages():
    script = BENCHMARKS / "gpu.sh"
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run(["bash", script, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "throughput" in done.stderr
