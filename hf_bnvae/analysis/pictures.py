"""What all pictures share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

Draw = TypeVar("Draw", bound=Callable)

STYLE = {"font.size": 7, "axes.spines.top": False, "axes.spines.right": False}


def in_our_style(draw: Draw) -> Draw:
    """A function that draws and saves a picture, in our style; the caller's settings of matplotlib stay."""

    @wraps(draw)
    def styled(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled  # type: ignore[return-value]


def subplots(rows: int, columns: int, figsize: tuple[float, float], layout: Any = None, **shared) -> Any:
    """A figure that no window shows, and its axes `(rows, columns)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def save(figure, path: Path) -> None:
    """Write a figure."""
    figure.savefig(path, dpi=200, bbox_inches="tight")
