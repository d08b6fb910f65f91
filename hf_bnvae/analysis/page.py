"""A page in the browser on a trained text VAE, or on two side by side: reconstruct, move, interpolate, sample."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .explorer import (
    MOST_CHARACTERS,
    MOST_SAMPLES,
    MOST_SEED,
    MOST_SPREAD,
    MOST_STEPS,
    MOST_TEMPERATURE,
    Explorer,
    PageError,
    escaped_html,
    lines,
)
from .latent_space import examples

MOST_BYTES = 64 * 1024
MOST_WAITING = 16
EXAMPLES = 3


def _gradio():
    # Nothing leaves the machine: no statistics, no look for a newer version.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise PageError("the page takes a package: pip install 'hf-bnvae[explore]'") from error
    return gradio


CSS = """
.map { width: 100%; height: auto; border: 1px solid var(--border-color-primary); border-radius: 6px; }
.map circle { fill-opacity: .55; }
.map .cross { stroke: var(--body-text-color); stroke-width: 3; }
.map .ring { fill: none; stroke: #d55e00; stroke-width: 3; }
.texts { padding-left: 1.6rem; margin: 0; list-style: decimal; max-height: 24rem; overflow-y: auto; }
.texts li { overflow-wrap: anywhere; padding: .15rem 0; }
.texts li, textarea { unicode-bidi: plaintext; }
"""


ONE_AT_A_TIME: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""How listeners wait: one model answers one visitor at a time, whatever is asked."""


def build_page(explorers: Sequence[Explorer]):
    """The page of one checkpoint, or of several side by side, as `gradio.Blocks`; `serve` starts it.

    Raises:
        PageError: where Gradio is not installed.
    """
    gr = _gradio()
    space = explorers[0].space
    usual = [space.texts[index][:MOST_CHARACTERS] for index in examples(space, EXAMPLES)]
    with gr.Blocks(title="Text VAE", analytics_enabled=False) as page:
        gr.Markdown("# Inside a text VAE")
        with gr.Tab("A sentence"):
            sentence_tab(gr, page, explorers, usual)
        with gr.Tab("Between two sentences"):
            interpolation_tab(gr, explorers, usual[0], usual[-1])
        with gr.Tab("Samples"):
            samples_tab(gr, explorers)
    page.queue(max_size=MOST_WAITING, api_open=False)
    return page


def answered(gr, function: Callable) -> Callable:
    """The same function with a `PageError` shown to the visitor."""

    def answer(*values):
        try:
            return function(*values)
        except PageError as error:
            raise gr.Error(str(error), print_exception=False, title="Sorry") from None

    return answer


def sentence_tab(gr, page, explorers: Sequence[Explorer], usual: Sequence[str]) -> None:
    """What each model makes of a sentence, and what it says where the visitor moves z."""
    text = sentence_box(gr, "Sentence", "sentence", usual[0])
    gr.Examples([[one] for one in usual], [text], label="Or one of these")
    with gr.Row():
        shown = [model_column(gr, explorer, number) for number, explorer in enumerate(explorers)]
    outputs = [component for column in shown for component in column.outputs]

    def read(sentence):
        if not sentence.strip():
            return gr.skip()
        return [value for explorer in explorers for value in column_values(explorer, sentence)]

    gr.on([text.submit, text.change], answered(gr, read), [text], outputs, trigger_mode="always_last", **ONE_AT_A_TIME)
    page.load(answered(gr, read), [text], outputs, **ONE_AT_A_TIME)
    for explorer, column in zip(explorers, shown, strict=True):
        gr.on(
            [slider.input for slider in column.sliders],
            answered(gr, lambda sentence, *values, explorer=explorer: explorer.move(sentence, values)),
            [text, *column.sliders],
            [column.moved, column.picture],
            trigger_mode="always_last",
            show_progress="hidden",
            **ONE_AT_A_TIME,
        )


@dataclass(frozen=True)
class ModelColumn:
    """Where the page shows what one model makes of a sentence."""

    said: Any
    picture: Any
    near: Any
    moved: Any
    sliders: list

    @property
    def outputs(self) -> list:
        """In the order of `column_values`."""
        return [self.said, self.picture, self.near, self.moved, *self.sliders]


def column_values(explorer: Explorer, sentence: str) -> list:
    """What the column of a model shows of a sentence."""
    rebuilt, strongest, drawn = explorer.reconstruct(sentence)
    near = "Nearest on the map" + lines(explorer.neighbours(sentence))
    return [rebuilt, drawn, near, rebuilt, *strongest]


def model_column(gr, explorer: Explorer, number: int) -> ModelColumn:
    """The column of a model, its sliders last."""
    with gr.Column(min_width=280):
        gr.HTML(f"<h3>{escaped_html(explorer.name)}</h3><p>{escaped_html(explorer.verdict)}</p>")
        said = gr.Textbox(label="Reconstruction", elem_id=f"said-{number}", interactive=False, lines=2)
        picture = gr.HTML(explorer.map(), elem_id=f"map-{number}")
        near = gr.HTML(elem_id=f"near-{number}")
        moved = gr.Textbox(label="The same with z moved", elem_id=f"moved-{number}", interactive=False, lines=2)
        return ModelColumn(said, picture, near, moved, slider_pairs(gr, explorer, number))


def interpolation_tab(gr, explorers: Sequence[Explorer], start: str, end: str) -> None:
    """What each model says on the way from one sentence to another."""
    with gr.Row():
        a = sentence_box(gr, "From", "from", start)
        b = sentence_box(gr, "To", "to", end)
    steps = gr.Slider(2, MOST_STEPS, 7, step=1, label="Steps")
    go = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
    paths = columns(gr, explorers, "path")
    go.click(
        answered(gr, lambda *given: [lines(explorer.interpolate(*given)) for explorer in explorers]),
        [a, b, steps],
        paths,
        **ONE_AT_A_TIME,
    )


def samples_tab(gr, explorers: Sequence[Explorer]) -> None:
    """What each model says to draws of the prior."""
    with gr.Row():
        count = gr.Slider(1, MOST_SAMPLES, 5, step=1, label="Samples")
        seed = gr.Slider(0, MOST_SEED, 1, step=1, label="Seed")
    with gr.Row():
        spread = gr.Slider(0, MOST_SPREAD, 1, step=0.1, label="Temperature of z", info="1 is the prior")
        temperature = gr.Slider(
            0, MOST_TEMPERATURE, 0, step=0.1, label="Temperature of words", info="0 takes the likeliest"
        )
    draw = gr.Button("Sample", variant="primary", elem_id="sample")
    drawn = columns(gr, explorers, "samples")
    draw.click(
        answered(gr, lambda *given: [lines(explorer.sample(*given)) for explorer in explorers]),
        [count, spread, temperature, seed],
        drawn,
        **ONE_AT_A_TIME,
    )


def sentence_box(gr, label: str, name: str, value: str):
    """Where a visitor types a sentence."""
    return gr.Textbox(value, label=label, max_length=MOST_CHARACTERS, lines=1, elem_id=name)


def slider_pairs(gr, explorer: Explorer, number: int) -> list:
    """A slider for each of the strongest dimensions of a model, two in a row."""
    sliders = []
    for first in range(0, len(explorer.strongest), 2):
        with gr.Row():
            for rank, dimension in list(enumerate(explorer.strongest))[first : first + 2]:
                sliders.append(
                    gr.Slider(
                        -explorer.reach,
                        explorer.reach,
                        0,
                        step=0.1,
                        label=f"z{dimension}",
                        elem_id=f"z-{number}-{rank}",
                        min_width=120,
                    )
                )
    return sliders


def columns(gr, explorers: Sequence[Explorer], name: str) -> list:
    """A place for the texts of each model, side by side."""
    with gr.Row():
        boxes = []
        for number, explorer in enumerate(explorers):
            with gr.Column(min_width=280):
                gr.HTML(f"<h3>{escaped_html(explorer.name)}</h3>")
                boxes.append(gr.HTML(elem_id=f"{name}-{number}"))
    return boxes


FILES = ("/file=", "/file/", "/upload", "/proxy=", "/stream/")
"""Parts of the paths by which Gradio takes and gives files."""


class SizeLimit:
    """An ASGI application that refuses requests of more than `MOST_BYTES`, and those for files.

    The page takes and gives none, and Gradio would look an address up for `file=https://...`.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = dict(scope["headers"]).get(b"content-length", b"0")
        size = 0

        async def counted():
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            # What goes on after the limit is not read: to the application the visitor has hung up.
            return message if size <= MOST_BYTES else {"type": "http.disconnect"}

        refusal = None
        if not said.isdigit() or int(said) > MOST_BYTES:
            refusal = 413, b"The request is too large."
        elif any(part in scope.get("path", "") for part in FILES):
            refusal = 404, b"There are no files here."
        if refusal is not None:
            head = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": refusal[0], "headers": head})
            await send({"type": "http.response.body", "body": refusal[1]})
            return None
        return await self.app(scope, counted, send)


def check_servable(host: str, port: int | None = None) -> None:
    """Refuse where no page can be served, before a model is loaded for it.

    Gradio tries a host that it cannot have at a hundred ports, for five seconds each.

    Raises:
        PageError: Gradio is not installed, or the host or the port cannot be had.
    """
    _gradio()
    try:
        family, kind, *_, address = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
    except (OSError, UnicodeError) as error:
        raise _refusal(host, port, error) from error


def _refusal(host: str, port: int | None, error: Exception) -> PageError:
    reason = getattr(error, "strerror", None) or error
    return PageError(
        f"the page cannot start at {host}{f':{port}' if port else ''} ({reason}): name another `host` or `port`"
    )


def serve(page, host: str = "127.0.0.1", port: int | None = None, block: bool = True) -> str:
    """Start a page and say where it is.

    Args:
        host: by default this machine's loopback, which nobody else reaches.
        port: by default the first free one from 7860.
        block: wait until it is interrupted.

    Raises:
        PageError: for a port or host that cannot be had.
    """
    gr = _gradio()
    check_servable(host, port)
    from starlette.middleware import Middleware

    try:
        _, url, _ = page.launch(
            server_name=f"[{host}]" if ":" in host.strip("[]") and host[0] != "[" else host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_threads=4,
            max_file_size="1kb",
            enable_monitoring=False,
            ssr_mode=False,
            footer_links=[],
            theme=gr.themes.Base(primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("monospace",)),
            css=CSS,
            app_kwargs={"middleware": [Middleware(SizeLimit)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        raise _refusal(host, port, error) from error
    if block:
        print(f"{url} (stop it by Ctrl+C)", flush=True)
        page.block_thread()
    return url
