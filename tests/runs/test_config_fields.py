"""Flags derive from the configuration: what its docstring describes is a flag, with one default."""

from dataclasses import dataclass, fields

import pytest
from transformers import HfArgumentParser

from hf_bnvae import BnCvaeConfig, BnVaeConfig
from hf_bnvae.plans import SENTENCES
from hf_bnvae.runs.config_fields import FROM_THE_DATA, descriptions, with_fields_of
from hf_bnvae.runs.dialogue_model_arguments import DialogueModelArguments
from hf_bnvae.runs.model_arguments import ModelArguments

PAIRS = [(ModelArguments, BnVaeConfig, SENTENCES.sizes_without_name), (DialogueModelArguments, BnCvaeConfig, {})]
OF_THE_METHOD = {"posterior", "decoder"}
OF_THE_TOKENIZER = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "unk_token_id")


@pytest.mark.parametrize(("arguments", "config", "sizes"), PAIRS)
def test_every_field_of_the_configuration_is_a_flag_with_its_default_and_help(arguments, config, sizes):
    own = set(config.__annotations__) - {*OF_THE_TOKENIZER, *FROM_THE_DATA, "is_encoder_decoder", "use_cache"}
    assert own == descriptions(config).keys() - {*FROM_THE_DATA}
    flags = {item.name: item for item in fields(arguments)}
    for name in own:
        expected = None if name in OF_THE_METHOD else sizes.get(name, config.__dataclass_fields__[name].default)
        assert flags[name].default == expected, name
        assert len(flags[name].metadata["help"]) > 10, name
        assert flags[name].metadata.get("choices") == (list(config.CHOICES[name]) if name in config.CHOICES else None)
    assert len({item.name for item in fields(arguments)}) == len(fields(arguments))


def test_a_new_field_is_a_flag_without_a_line_about_it():
    @dataclass
    class Config:
        """A configuration.

        Args:
            share: of the prior's variance, at most
                100 % of it.
            names: which ones.
            mode: how.

        Raises:
            ValueError: never.
        """

        CHOICES = {"mode": ("fast", "slow")}
        share: float | int | None = None
        names: list[str] | None = None
        mode: str = "slow"
        hidden: int = 3

    @dataclass
    @with_fields_of(Config, defaults={}, help_texts={"names": "another help"})
    class Arguments:
        size: int = 1

    parser = HfArgumentParser(Arguments)
    (parsed,) = parser.parse_args_into_dataclasses(["--share", "0.25", "--names", "a", "b", "--mode", "fast"])
    assert parsed == Arguments(share=0.25, names=["a", "b"], mode="fast")
    said = " ".join(parser.format_help().split())
    assert "of the prior's variance, at most 100 % of it" in said and "another help" in said
    assert "{fast,slow}" in said and "hidden" not in said
