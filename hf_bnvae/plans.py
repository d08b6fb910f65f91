"""From the name of a method to the values of its configuration and its training, and to a model."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields

from .methods import DIALOGUE_METHODS, METHODS, Method
from .models import (
    BnCvaeConfig,
    BnCvaeForConditionalGeneration,
    BnVaeConfig,
    BnVaeForConditionalGeneration,
    LstmLMConfig,
    LstmLMForCausalLM,
)
from .training import (
    DIALOGUE_RECIPES,
    DIALOGUE_SIZES,
    RECIPES,
    SIZES,
    DialogueTrainingArguments,
    VaeTrainingArguments,
)
from .training.arguments import LEFT_OUT, MUON_WITH
from .training.recipes import grown
from .training.schedules import most_annealing

MODELS = {
    BnVaeConfig: BnVaeForConditionalGeneration,
    LstmLMConfig: LstmLMForCausalLM,
    BnCvaeConfig: BnCvaeForConditionalGeneration,
}


@dataclass(frozen=True)
class Family:
    """The methods that share a configuration, and the names that their recipes and sizes have.

    Args:
        methods: rows of the table.
        recipes: defaults of the training by name.
        sizes: defaults of the widths by name.
        config_class: of a model with a latent.
        arguments_class: of its training.
        growing: names of recipes whose optimiser follows the batch, see `training.recipes.grown`.
        sizes_without_name: the widths where no size is named, for those that differ from the configuration's defaults.
    """

    methods: Mapping[str, Method]
    recipes: Mapping[str, dict]
    sizes: Mapping[str, dict]
    config_class: type
    arguments_class: type[VaeTrainingArguments]
    growing: Collection[str] = ()
    sizes_without_name: Mapping[str, int] = field(default_factory=dict)

    def config_class_of(self, method: str) -> type:
        """The configuration of a method: a language model has its own."""
        return self.config_class if self.methods[method].has_latent else LstmLMConfig


SENTENCES = Family(
    METHODS,
    RECIPES,
    SIZES,
    BnVaeConfig,
    VaeTrainingArguments,
    growing=("fast", "muon"),
    # Half the paper's widths, which a corpus of the user's own seldom needs.
    sizes_without_name={"embedding_size": 256, "hidden_size": 512},
)
DIALOGUES = Family(DIALOGUE_METHODS, DIALOGUE_RECIPES, DIALOGUE_SIZES, BnCvaeConfig, DialogueTrainingArguments)


@dataclass(frozen=True)
class Plan:
    """What a method, a recipe, a size and the caller's own values decide; defaults stand for the rest.

    Args:
        method: its name.
        config_class: the class of the model's configuration.
        config: values of its fields.
        arguments_class: the class of the training arguments.
        training: values of its fields.
    """

    method: str
    config_class: type
    config: Mapping[str, object]
    arguments_class: type[VaeTrainingArguments]
    training: Mapping[str, object]

    def build_model(self, **config):
        """A new model of the plan; `config` changes fields, such as the ids of a tokenizer."""
        return MODELS[self.config_class](self.config_class(**{**self.config, **config}))


def family_of(method: str) -> Family:
    """The family of a method.

    Raises:
        ValueError: there is no such method.
    """
    for family in (SENTENCES, DIALOGUES):
        if method in family.methods:
            return family
    raise ValueError(f"method must be one of {', '.join([*METHODS, *DIALOGUE_METHODS])}, got {method!r}")


def resolve(method: str, recipe: str = "fast", size: str | None = None, **overrides) -> Plan:
    """The values that train a method.

    Where several set the same value, the order is: `overrides`, the method, the recipe, the size. The optimiser
    of the recipes `fast` and `muon` follows the batch (`training.recipes.grown`). An annealing by epochs takes half of
    a training at most, so that the KL weight gets full, and a quarter of one in cycles, so that there are two.

    Args:
        method: a row of `METHODS` or `DIALOGUE_METHODS`.
        recipe: the name of a recipe of its family.
        size: the name of a size of its family; None for widths that suit a small corpus.
        overrides: fields of the configuration or of the training arguments.

    Raises:
        ValueError: a name that is not there.
    """
    family = family_of(method)
    for name, value, choices in (("recipe", recipe, (*family.recipes,)), ("size", size, (None, *family.sizes))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    config_class = family.config_class_of(method)
    config_fields = _field_names(family.config_class)
    training_fields = _field_names(family.arguments_class)
    for name in overrides:
        if name not in config_fields | training_fields:
            kinds = f"{family.config_class.__name__} nor {family.arguments_class.__name__}"
            raise ValueError(f"{name} is a field of neither {kinds}")
    values = dict(family.sizes_without_name if size is None else family.sizes[size]) | LEFT_OUT
    trained = family.recipes[recipe]
    values |= grown(trained, overrides) if recipe in family.growing else trained
    values |= _values_of(family.methods[method], overrides)
    if "kl_annealing_epochs" in values and overrides.get("max_steps", -1) < 1:
        asked = values | overrides
        most = most_annealing(asked["kl_schedule"], asked["num_train_epochs"])
        values["kl_annealing_epochs"] = min(values["kl_annealing_epochs"], most)
    if "kl_annealing_epochs" in overrides:
        values.pop("kl_annealing_steps", None)  # steps would win over epochs
    if any(name.startswith("fp16") for name in overrides):
        values.pop("bf16", None)
    if overrides.get("optim", MUON_WITH[0]) not in MUON_WITH or overrides.get("fsdp") or overrides.get("deepspeed"):
        values.pop("muon", None)
    values |= overrides
    return Plan(
        method,
        config_class,
        {name: value for name, value in values.items() if name in _field_names(config_class)},
        family.arguments_class,
        {name: value for name, value in values.items() if name in training_fields},
    )


def build_model(method: str, **config):
    """A new model of a method, at the configuration's own sizes.

    Args:
        method: a row of `METHODS` or `DIALOGUE_METHODS`.
        config: fields of the configuration. A language model leaves out those that only a latent needs.

    Raises:
        ValueError: a field that the configuration does not have, or a value out of its range.
    """
    family = family_of(method)
    config_class = family.config_class_of(method)
    known = _field_names(config_class)
    for name in config:
        if name not in known | _field_names(family.config_class):
            raise ValueError(f"{name} is no field of {config_class.__name__}")
    values = _values_of(family.methods[method], config) | config
    return MODELS[config_class](config_class(**{name: value for name, value in values.items() if name in known}))


def _values_of(method: Method, given: Mapping[str, object]) -> dict[str, object]:
    """The choices of a row, by the names of their fields, less what another posterior does not share."""
    choices = ("posterior", "decoder", "kl_schedule", "strategy")
    settings = dict(method.settings)
    if given.get("posterior", method.posterior) != method.posterior:
        settings.pop("decorrelation", None)
    return {name: getattr(method, name) for name in choices} | settings


def _field_names(kind: type) -> set[str]:
    return {item.name for item in fields(kind)}
