"""What all pictures share."""

from pathlib import Path


def pyplot():
    """matplotlib's interface, set for small pictures that no window shows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False})
    return pyplot


def save(figure, path: Path) -> None:
    """Write a figure and forget it."""
    figure.savefig(path, dpi=200, bbox_inches="tight")
    pyplot().close(figure)
