"""The synthetic study of the paper's appendix A.1: does the inference network keep up with the model's posterior?

    hf-bnvae synthetic --output_dir runs/synthetic
    hf-bnvae synthetic --output_dir runs/synthetic --gammas 0.1 1 --batch_sizes 32 128 --max_steps 800

Draws sequences from an LSTM with a scalar latent, trains a plain VAE and BN-VAEs at several γ and batch sizes on them,
and draws where the model's posterior and the inference network put validation sequences: `figure1.png` and
`animation.gif` during training (the VAE and the largest γ), `figure2.png` at the end of every run; `report.md` says the
rest, and `all_results.json` holds its numbers.
"""

from functools import partial
from pathlib import Path

from ..hub.run_record import command_line
from ..runs.synthetic_study import StudyArguments, run_study
from .errors import flags_named
from .flags import parse_arguments
from .program import called_as
from .run import run
from .yaml_file import all_flags


@flags_named()
def main(argv: list[str] | None = None) -> None:
    (args,) = parse_arguments(StudyArguments, description=__doc__.splitlines()[0], argv=argv)
    run_study(args, command_line(called_as("synthetic", argv), all_flags(argv)), partial(print, flush=True))
    print(Path(args.output_dir, "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
