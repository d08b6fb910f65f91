"""From finished runs and models to tables, pictures and pages."""

from ..deprecation import former_names
from .case_study import Case, write_case_study
from .comparison import COMPARED_METRICS, Run, read_run, results_table, time_table, write_comparison
from .latent_space import Dimension, LatentSpace, dimensions, read_latent_space, verdict
from .mean_space import MeanSpace, MeanSpaceCallback, animate_training, draw_sweep, draw_training
from .rate_distortion import draw_rate_distortion, rate_curves
from .report import write_report

__all__ = [
    "COMPARED_METRICS",
    "Case",
    "Dimension",
    "LatentSpace",
    "MeanSpace",
    "MeanSpaceCallback",
    "Run",
    "animate_training",
    "dimensions",
    "draw_rate_distortion",
    "draw_sweep",
    "draw_training",
    "rate_curves",
    "read_latent_space",
    "read_run",
    "results_table",
    "time_table",
    "verdict",
    "write_case_study",
    "write_comparison",
    "write_report",
]

__getattr__ = former_names(__name__, {"METRICS": "COMPARED_METRICS"})
