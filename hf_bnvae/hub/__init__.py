"""From a finished run to the Hugging Face Hub."""

from .cards import CardError, name_repository, write_card
from .model_card_callback import ModelCardCallback
from .publishing import HubError, Published, make_repository, publish
from .spaces import publish_space, write_space

__all__ = [
    "CardError",
    "HubError",
    "ModelCardCallback",
    "Published",
    "make_repository",
    "name_repository",
    "publish",
    "publish_space",
    "write_card",
    "write_space",
]
