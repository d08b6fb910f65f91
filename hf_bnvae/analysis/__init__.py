"""From finished runs and models to tables and pictures."""

from .case_study import Case, write_case_study
from .comparison import METRICS, Run, read_run, results_table, time_table, write_comparison

__all__ = [
    "METRICS",
    "Case",
    "Run",
    "read_run",
    "results_table",
    "time_table",
    "write_case_study",
    "write_comparison",
]
