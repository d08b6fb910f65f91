"""From finished runs and models to tables, pictures and pages."""

from .case_study import Case, write_case_study
from .comparison import METRICS, Run, read_run, results_table, time_table, write_comparison
from .latent_space import Dimension, LatentSpace, dimensions, read_latent_space, verdict
from .report import write_report

__all__ = [
    "METRICS",
    "Case",
    "Dimension",
    "LatentSpace",
    "Run",
    "dimensions",
    "read_latent_space",
    "read_run",
    "results_table",
    "time_table",
    "verdict",
    "write_case_study",
    "write_comparison",
    "write_report",
]
