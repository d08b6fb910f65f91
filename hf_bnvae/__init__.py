"""Text VAEs whose posterior does not collapse, for Transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from ._version import __version__
from .models import BnVaeConfig, BnVaeForConditionalGeneration, BnVaeModel

AutoConfig.register("bnvae", BnVaeConfig)
AutoModel.register(BnVaeConfig, BnVaeModel)
AutoModelForSeq2SeqLM.register(BnVaeConfig, BnVaeForConditionalGeneration)

__all__ = ["BnVaeConfig", "BnVaeForConditionalGeneration", "BnVaeModel", "__version__"]
