"""Arguments of the model card."""

import re
from dataclasses import dataclass, field

from ..errors import ParameterError
from .checks import check_least


@dataclass
class CardArguments:
    """What the model card says and the run cannot know."""

    license: str | None = field(
        default=None, metadata={"help": "of the model, by its id on the Hub, such as apache-2.0, or 'other'"}
    )
    data_license: str | None = field(default=None, metadata={"help": "of the data, in words"})
    language: list[str] | None = field(
        default=None, metadata={"help": "of the data, by its ISO 639 codes, such as en, or several of them"}
    )
    card_quotes: int = field(
        default=3, metadata={"help": "texts of the data that the model card shows with the model's; 0 to quote none"}
    )

    def __post_init__(self):
        check_least(self, card_quotes=0)
        if isinstance(self.language, str):
            self.language = [self.language]
        for code in self.language or ():
            if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual|code", code):
                raise ParameterError(f"`language` must be the codes of languages, such as en or zh, got {code!r}")
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise ParameterError(
                f"`license` must be the id of a licence on the Hub, such as apache-2.0 or other, got {self.license!r}"
            )
