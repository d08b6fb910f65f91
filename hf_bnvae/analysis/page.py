"""A page in the browser on a trained text VAE, or on two side by side: reconstruct, move, interpolate, sample."""

import html
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..models.interpolation import interpolate_latents
from ..pipelines import TextVaePipeline
from .latent_space import (
    LatentSpace,
    Projection,
    dimensions,
    examples,
    nearest,
    on_support,
    principal_plane,
    read_latent_space,
    verdict,
)

MOST_CHARACTERS = 500
MOST_BYTES = 64 * 1024
MOST_WAITING = 16
MOST_SAMPLES = 10
MOST_STEPS = 11
MOST_SPREAD = 2.0
MOST_TEMPERATURE = 1.5
MOST_SEED = 1000
SLIDERS = 6
REACH = 4.0
NEAREST = 3
EXAMPLES = 3
OWN_SENTENCES = 200
MAX_NEW_TOKENS = 48
MAP_WIDTH, MAP_HEIGHT, MAP_EDGE = 480, 320, 12
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
OTHER_COLOUR = "#8a8f99"


class PageError(ValueError):
    """What a visitor of the page asked for and cannot have, or a page that cannot be made: one sentence."""


@dataclass(frozen=True)
class Explorer:
    """One checkpoint behind the page, and what it makes of what a visitor asks.

    Args:
        name: of the model, for its column.
        space: the sentences on its map.
        plane: the plane of the map.
        strongest: the dimensions that have a slider, the one with most information first.
        reach: how far a slider goes from 0, in units of the prior's standard deviation.
    """

    name: str
    space: LatentSpace
    plane: Projection
    strongest: list[int]
    reach: float

    @classmethod
    def of(
        cls, pipeline: TextVaePipeline, name: str, texts: Sequence[str] = (), labels: Sequence[Any] | None = None
    ) -> "Explorer":
        """An explorer with those sentences on its map; without any, with what the model says to draws of its prior."""
        if not texts:
            texts = pipeline.sample(OWN_SENTENCES, seed=0, do_sample=True, max_new_tokens=MAX_NEW_TOKENS)
        space = read_latent_space(pipeline, texts, labels)
        ranked = sorted(dimensions(space), key=lambda one: -one.strength)[:SLIDERS]
        strongest = [one.number for one in ranked]
        farthest = float(space.means[:, strongest].abs().max()) / space.unit
        return cls(name, space, principal_plane(space.means), strongest, max(REACH, float(int(farthest) + 1)))

    @property
    def verdict(self) -> str:
        """Whether the posterior has collapsed, in one sentence."""
        return verdict(self.space)[1]

    def encode(self, text: str) -> torch.Tensor:
        """The posterior mean of a sentence, `(latent_size,)`.

        Raises:
            PageError: for a sentence without a word, or one that is too long.
        """
        if not isinstance(text, str) or not text.strip():
            raise PageError("Type a sentence first.")
        if len(text) > MOST_CHARACTERS:
            raise PageError(f"That is too long: a sentence may have {MOST_CHARACTERS} characters here.")
        return self.space.pipeline.encode(" ".join(text.split()))[0]

    def decode(self, points: torch.Tensor, **generation_options) -> list[str]:
        """Texts of `(n, latent_size)` points."""
        return self.space.pipeline.decode(
            on_support(self.space, points), max_new_tokens=MAX_NEW_TOKENS, **generation_options
        )

    def reconstruct(self, text: str) -> tuple[str, list[float], str]:
        """The reconstruction of a sentence, its strongest dimensions as far as sliders go, and its place on the map."""
        latent = self.encode(text)
        shown = (latent[self.strongest] / self.space.unit).clamp(-self.reach, self.reach)
        values = [round(value, 2) for value in shown.tolist()]
        return self.decode(latent.unsqueeze(0))[0], values, self.map(latent)

    def move(self, text: str, values: Sequence[float]) -> tuple[str, str]:
        """What the decoder says to a sentence whose strongest dimensions have other values, and the map with both."""
        latent = self.encode(text)
        moved = latent.clone()
        for number, value in zip(self.strongest, values, strict=True):
            moved[number] = bounded(value, -self.reach, self.reach) * self.space.unit
        moved = on_support(self.space, moved.unsqueeze(0))
        return self.decode(moved)[0], self.map(latent, moved[0])

    def interpolate(self, a: str, b: str, steps: int) -> list[str]:
        """Texts along the arc from one sentence to another, both ends included."""
        steps = int(bounded(steps, 2, MOST_STEPS))
        return self.decode(interpolate_latents(self.encode(a), self.encode(b), steps))

    def sample(self, count: int, spread: float, temperature: float, seed: int) -> list[str]:
        """Texts of draws of the prior.

        Args:
            spread: what the draws are multiplied by; 1 is the prior.
            temperature: of the words; 0 takes the likeliest word each time.
        """
        count, seed = int(bounded(count, 1, MOST_SAMPLES)), int(bounded(seed, 0, MOST_SEED))
        generator = torch.Generator().manual_seed(seed)
        draws = self.space.pipeline.sample_prior(count, generator)
        points = draws * bounded(spread, 0, MOST_SPREAD)
        temperature = bounded(temperature, 0, MOST_TEMPERATURE)
        if temperature == 0:
            return self.decode(points)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.decode(points, do_sample=True, temperature=temperature)

    def neighbours(self, text: str) -> list[str]:
        """The sentences of the map that are nearest to one, each of them once."""
        texts = self.space.texts
        ranked = nearest(self.space, self.encode(text), len(texts))
        return list(dict.fromkeys(texts[index] for index, _ in ranked))[:NEAREST]

    def map(self, latent: torch.Tensor | None = None, moved: torch.Tensor | None = None) -> str:
        """An SVG of the sentences, with a cross where a latent is and a ring where it was moved to."""
        sentences = self.plane(self.space.means)
        # At least the prior's deviation to each side: a collapsed posterior is to look like one.
        low = sentences.min(0).values.clamp(max=-self.space.unit)
        high = sentences.max(0).values.clamp(min=self.space.unit)
        room = torch.tensor([MAP_WIDTH - 2 * MAP_EDGE, MAP_HEIGHT - 2 * MAP_EDGE])

        def shown(points: torch.Tensor) -> list[list[float]]:
            share = ((self.plane(points) - low) / (high - low)).clamp(0, 1)
            share[:, 1] = 1 - share[:, 1]
            return (MAP_EDGE + share * room).tolist()

        marks = [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{escaped_html(text)}</title></circle>'
            for (x, y), colour, text in zip(shown(self.space.means), self._colours(), self.space.texts, strict=True)
        ]
        if latent is not None:
            ((x, y),) = shown(latent.unsqueeze(0))
            arms = f"M{x - 8:.1f} {y:.1f}h16M{x:.1f} {y - 8:.1f}v16"
            marks.append(f'<path class="cross" d="{arms}"><title>the sentence</title></path>')
        if moved is not None:
            ((x, y),) = shown(moved.unsqueeze(0))
            marks.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>moved</title></circle>')
        return (
            f'<svg class="map" viewBox="0 0 {MAP_WIDTH} {MAP_HEIGHT}" role="img" aria-label="Map of the sentences">'
            + "".join(marks)
            + "</svg>"
        )

    def _colours(self) -> list[str]:
        """By label where there are two or more."""
        kinds = self.space.label_kinds
        if self.space.labels is None or len(kinds) < 2:
            return [COLOURS[0]] * len(self.space.texts)
        colours = dict(zip(kinds, COLOURS, strict=False))
        return [colours.get(label, OTHER_COLOUR) for label in self.space.labels]


def bounded(value: Any, low: float, high: float) -> float:
    """A number between two others.

    Raises:
        PageError: for anything else.
    """
    if not isinstance(value, int | float) or not low <= value <= high:
        raise PageError(f"A number from {low:g} to {high:g} belongs there.")
    return value


def escaped_html(text: str) -> str:
    """Text that stays text in HTML, and in the templates that Gradio makes of it."""
    return html.escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def lines(texts: Sequence[str]) -> str:
    """Texts as a numbered list."""
    return '<ol class="texts">' + "".join(f"<li>{escaped_html(text) or '(nothing)'}</li>" for text in texts) + "</ol>"


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


def build_page(explorers: Sequence[Explorer]):
    """The page of one checkpoint, or of several side by side, as `gradio.Blocks`; `serve` starts it.

    Raises:
        PageError: where Gradio is not installed.
    """
    gr = _gradio()

    def answered(function):
        """The same with a `PageError` shown to the visitor."""

        def answer(*values):
            try:
                return function(*values)
            except PageError as error:
                raise gr.Error(str(error), print_exception=False, title="Sorry") from None

        return answer

    # One model answers one visitor at a time, whatever is asked.
    one_at_a_time = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
    space = explorers[0].space
    usual = [space.texts[index][:MOST_CHARACTERS] for index in examples(space, EXAMPLES)]
    with gr.Blocks(title="Text VAE", analytics_enabled=False) as page:
        gr.Markdown("# Inside a text VAE")
        with gr.Tab("A sentence"):
            text = sentence_box(gr, "Sentence", "sentence", usual[0])
            gr.Examples([[one] for one in usual], [text], label="Or one of these")
            outputs, sliders = [], []
            with gr.Row():
                for number, explorer in enumerate(explorers):
                    with gr.Column(min_width=280):
                        gr.HTML(f"<h3>{escaped_html(explorer.name)}</h3><p>{escaped_html(explorer.verdict)}</p>")
                        said = gr.Textbox(label="Reconstruction", elem_id=f"said-{number}", interactive=False, lines=2)
                        picture = gr.HTML(explorer.map(), elem_id=f"map-{number}")
                        near = gr.HTML(elem_id=f"near-{number}")
                        moved = gr.Textbox(
                            label="The same with z moved", elem_id=f"moved-{number}", interactive=False, lines=2
                        )
                        own = slider_pairs(gr, explorer, number)
                        outputs += [said, picture, near, moved, *own]
                        sliders.append((explorer, own, [moved, picture]))

            def read(sentence):
                if not sentence.strip():
                    return gr.skip()
                values = []
                for explorer in explorers:
                    rebuilt, strongest, drawn = explorer.reconstruct(sentence)
                    values += [
                        rebuilt,
                        drawn,
                        "Nearest on the map" + lines(explorer.neighbours(sentence)),
                        rebuilt,
                        *strongest,
                    ]
                return values

            gr.on(
                [text.submit, text.change], answered(read), [text], outputs, trigger_mode="always_last", **one_at_a_time
            )
            page.load(answered(read), [text], outputs, **one_at_a_time)
            for explorer, own, changed in sliders:

                def move(sentence, *values, explorer=explorer):
                    return explorer.move(sentence, values)

                gr.on(
                    [slider.input for slider in own],
                    answered(move),
                    [text, *own],
                    changed,
                    trigger_mode="always_last",
                    show_progress="hidden",
                    **one_at_a_time,
                )
        with gr.Tab("Between two sentences"):
            with gr.Row():
                a, b = (
                    sentence_box(gr, label, name, end)
                    for label, name, end in (("From", "from", usual[0]), ("To", "to", usual[-1]))
                )
            steps = gr.Slider(2, MOST_STEPS, 7, step=1, label="Steps")
            go = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
            paths = columns(gr, explorers, "path")
            go.click(
                answered(lambda *given: [lines(explorer.interpolate(*given)) for explorer in explorers]),
                [a, b, steps],
                paths,
                **one_at_a_time,
            )
        with gr.Tab("Samples"):
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
                answered(lambda *given: [lines(explorer.sample(*given)) for explorer in explorers]),
                [count, spread, temperature, seed],
                drawn,
                **one_at_a_time,
            )
    page.queue(max_size=MOST_WAITING, api_open=False)
    return page


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
