"""From finished runs and models to tables and pictures."""

from .comparison import METRICS, Run, read_run, results_table, time_table, write_comparison

__all__ = ["METRICS", "Run", "read_run", "results_table", "time_table", "write_comparison"]
