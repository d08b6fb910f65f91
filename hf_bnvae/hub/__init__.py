"""From a finished run to the Hugging Face Hub."""

from .cards import CardError, name_repository, write_card
from .publishing import HubError, Published, make_repository, publish

__all__ = ["CardError", "HubError", "Published", "make_repository", "name_repository", "publish", "write_card"]
