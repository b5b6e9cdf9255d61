"""One message for a user's mistake, a traceback for ours."""

import pytest

from kd3d.cli.guard import clear_errors
from kd3d.errors import ConfigError


@clear_errors
def fail(error, cause=None):
    raise error from cause


def test_a_users_mistake_gets_its_message_and_no_traceback(capsys):
    with pytest.raises(SystemExit) as stop:
        fail(ConfigError("is [wrong].", where="option", hint="Change it."))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: ConfigError: option: is [wrong]. Change it.\n"


def test_a_mistake_inside_a_constructor_that_hydra_called_is_found(capsys):
    with pytest.raises(SystemExit):
        fail(RuntimeError("Error in call to target"), ConfigError("is wrong.", where="option"))
    assert "option: is wrong." in capsys.readouterr().err


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError("ours"))
