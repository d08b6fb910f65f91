"""Whole runs, from the data to the trained model, its results and its card: what the command and `train` call.

Arguments are dataclasses, and errors name their fields between backticks. No command line is parsed here.
"""
