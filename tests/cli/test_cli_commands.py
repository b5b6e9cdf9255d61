"""The list of commands is the list of console scripts."""

from importlib.metadata import entry_points

from kd3d.__main__ import COMMANDS, main


def test_python_m_kd3d_lists_every_console_script(capsys):
    assert main() == 0
    text = capsys.readouterr().out
    scripts = {script.name for script in entry_points(group="console_scripts")}
    ours = {name for name in scripts if name.startswith("kd3d-")}
    assert ours == set(COMMANDS)
    for name in ours:
        assert f"  {name}" in text
