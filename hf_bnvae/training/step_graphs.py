"""CUDA graphs: the passes of a training step as one launch, where hundreds of small ones keep a GPU idle.

A graph is what a step did on the device, recorded once for each shape of a batch and then replayed: the tensors that it
reads and writes stay where they were, and no line of Python runs. So everything that differs between two steps, the KL
weight and the seed of the noise included, is a tensor of the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers.utils import logging

from ..models import BnVaeForConditionalGeneration, LstmLMForCausalLM
from ..models.objectives import IGNORED

if TYPE_CHECKING:
    from .arguments import VaeTrainingArguments

STEPPING_BACKWARD = ("layerwise", "lomo")
"""Parts of the names of optimisers that update weights before a gradient is whole."""
MOST_GRAPHS = 64  # each takes a moment to record, and memory for its batch

Batch = dict[str, torch.Tensor]
logger = logging.get_logger(__name__)


class Recorder(Protocol):
    """Records what a call does on a device."""

    def __call__(self, call: Callable[[], torch.Tensor]) -> tuple[Callable[[], object], torch.Tensor]:
        """Record the call without doing it. Returns what does it, and the tensor in which its result then stands.

        Raises:
            RuntimeError: for a call that waits for the device.
        """


class CudaRecorder:
    """CUDA's own graphs, whose tensors share one pool of memory: one graph runs at a time."""

    def __init__(self):
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, call):
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # What another thread does meanwhile, such as pinning the next batch, is none of the graph's business.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = call()
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own
        return graph.replay, result


def recorder_of(device: torch.device) -> Recorder | None:
    """What records steps on a device, None where nothing does."""
    return CudaRecorder() if device.type == "cuda" else None


def graphs_of(model: torch.nn.Module, args: "VaeTrainingArguments") -> "StepGraphs | None":
    """The graphs of a training; None, with a warning that says why, where its steps cannot be replayed."""
    recorder = recorder_of(args.device)
    why = _why_without(model, args)
    if recorder is None or why:
        logger.warning("`cuda_graphs` does nothing here: %s", why or "it needs a GPU of CUDA")
        return None
    return StepGraphs([parameter for parameter in model.parameters() if parameter.requires_grad], recorder)


def _why_without(model: Any, args: "VaeTrainingArguments") -> str | None:
    parts = {getattr(model.config, "encoder", "lstm"), getattr(model.config, "decoder", "lstm")}
    reasons = {
        "several processes wait for each other in a step": args.world_size > 1,
        f"the strategy {args.strategy} looks at what it computes": args.strategy != "standard",
        "fp16 leaves out steps by what it computes": args.fp16,
        f"the optimiser {args.optim} takes its step on the way": any(name in args.optim for name in STEPPING_BACKWARD),
        "the model is compiled": args.torch_compile,
        "only models of sentences have it": not isinstance(model, BnVaeForConditionalGeneration | LstmLMForCausalLM),
        "a refined posterior looks at its sentences": getattr(model.config, "refinement_steps", 0) > 0,
        "a pretrained network may look at its batch": "pretrained" in parts,
    }
    return next((why for why, holds in reasons.items() if holds), None)


@dataclass
class StepGraph:
    """A recorded step: the tensors that it reads, what replays it, and where its loss then stands."""

    batch: Batch
    replay: Callable[[], object]
    loss: torch.Tensor


class StepGraphs:
    """The recorded steps of a training by the shapes of their batches.

    The first batch of a shape takes the step as it is, which lets libraries choose their kernels; the second records
    it, and that and every later one replays. A step that cannot be recorded is the last to be tried.

    Args:
        parameters: those that are trained, each of which has a gradient in every step.
        recorder: what records.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], recorder: Recorder):
        self._parameters = parameters
        self._recorder: Recorder | None = recorder
        self._gradients: list[torch.Tensor] = []
        self._seen: set[tuple] = set()
        self._graphs: dict[tuple, StepGraph] = {}
        self._steps = self._replayed = self._places = 0
        self.words = torch.zeros((), dtype=torch.long, device=parameters[0].device)
        """The words that steps had to predict, counted on the device."""

    def results(self) -> dict[str, float]:
        """How many graphs there are, how many steps they took of the training's, and the share of padding in batches,
        as `all_results.json` names them."""
        padding = 1 - int(self.words) / max(1, self._places)
        return {
            "train_graphs": len(self._graphs),
            "train_replayed_steps": self._replayed,
            "train_steps_as_they_are": self._steps - self._replayed,
            "train_padding_share": padding,
        }

    def step(self, update: Callable[[Batch], torch.Tensor], batch: Batch, *others) -> torch.Tensor:
        """Add the gradients of a batch to those of the parameters. Returns its loss, detached.

        Args:
            update: does that for a batch, always in the same way.
            batch: its tensors by name, with the labels.
            others: numbers that the update depends on beside the shapes of the batch.
        """
        key = (others, *((name, tensor.shape, tensor.dtype) for name, tensor in batch.items()))
        graph = self._graphs.get(key)
        if graph is None and self._may_record(key, batch):
            graph = self._record(key, update, batch)
        self._seen.add(key)
        self._steps += 1
        self._places += batch["labels"].numel()
        if graph is None:
            return self._counted(update, batch)
        self._keep_gradients_in_place()
        for name, tensor in graph.batch.items():
            tensor.copy_(batch[name])
        graph.replay()
        self._replayed += 1
        return graph.loss.clone()

    def _may_record(self, key: tuple, batch: Batch) -> bool:
        knows_words = "word_positions" in batch  # else a model looks for them, for which it waits
        return self._recorder is not None and knows_words and key in self._seen and len(self._graphs) < MOST_GRAPHS

    def _counted(self, update: Callable[[Batch], torch.Tensor], batch: Batch) -> torch.Tensor:
        self.words += (batch["labels"] != IGNORED).sum()
        return update(batch)

    def _record(self, key: tuple, update: Callable[[Batch], torch.Tensor], batch: Batch) -> StepGraph | None:
        assert self._recorder is not None
        before = [parameter.grad for parameter in self._parameters]
        own = {name: tensor.clone() for name, tensor in batch.items()}
        self._keep_gradients_in_place()
        try:
            replay, loss = self._recorder(lambda: self._counted(update, own))
        except RuntimeError as error:
            reason = error.__context__ or error  # that which ended the recording, and not that it has ended
            logger.warning("Trains without CUDA graphs from here: %s", str(reason).strip().partition("\n")[0])
            self._recorder = None
            for parameter, gradient in zip(self._parameters, before, strict=True):
                parameter.grad = gradient
            return None
        self._graphs[key] = StepGraph(own, replay, loss)
        return self._graphs[key]

    def _keep_gradients_in_place(self) -> None:
        """Let each gradient be the tensor that graphs add to, with what it holds; zero where there is none."""
        if not self._gradients:
            self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        none = []
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            if parameter.grad is None:
                none.append(gradient)
            elif parameter.grad is not gradient:
                gradient.copy_(parameter.grad)
            parameter.grad = gradient
        if none:
            torch._foreach_zero_(none)
