"""The package names parameters, and the command line prints them as flags: in errors and in warnings."""

import logging

import pytest

from hf_bnvae.cli.errors import UsageError, flags_named, with_flags
from hf_bnvae.data import CorpusError
from hf_bnvae.errors import ParameterError


def test_a_parameter_between_backticks_is_a_flag_and_a_command_stays_one():
    assert with_flags("`rate` sets `gamma`: see `hf-bnvae train`") == "--rate sets --gamma: see `hf-bnvae train`"


@pytest.mark.parametrize(("raised", "expected"), [(ParameterError, UsageError), (CorpusError, CorpusError)])
def test_an_error_of_the_package_names_flags(raised, expected):
    with pytest.raises(expected, match=r"^pass --train_file$"), flags_named():
        raise raised("pass `train_file`")


def test_an_error_that_the_user_cannot_mend_stays_as_it_is():
    with pytest.raises(ValueError, match=r"^`shape` is wrong$") as error, flags_named():
        raise ValueError("`shape` is wrong")
    assert type(error.value) is ValueError


def test_warnings_of_the_package_name_flags_while_a_command_runs(caplog):
    ours, theirs = logging.getLogger("hf_bnvae.training.callbacks"), logging.getLogger("torch")
    with flags_named():
        ours.warning("Try a larger `%s`.", "rate")
        theirs.warning("`rate`")
    ours.warning("Try a larger `rate`.")
    assert [record.getMessage() for record in caplog.records] == [
        "Try a larger --rate.",
        "`rate`",
        "Try a larger `rate`.",
    ]
