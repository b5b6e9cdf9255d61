"""Capturing what modules inside a network return, by their dotted path."""

import difflib
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from kd3d.errors import TapError

__all__ = ["Taps", "find_module"]


def find_module(network: nn.Module, path: str, owner: str) -> nn.Module:
    """Look a module up by its dotted path.

    Args:
        network: where to look.
        path: dotted path as in `torch.nn.Module.named_modules`; "" is the network itself.
        owner: what to call the network in the error ("student", "teacher").

    Raises:
        TapError: if there is no such module; names the nearest paths that exist.
    """
    modules = dict(network.named_modules())
    module: nn.Module | None = modules.get(path)
    if module is not None:
        return module
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4) or list(modules)[1:4]
    raise TapError(
        f"the {owner} ({type(network).__name__}) has no module at this path.",
        where=path,
        hint=f"Nearest: {', '.join(repr(name) for name in near)}." if near else None,
    )


class Taps:
    """Forward hooks that keep the latest output of some modules of a network.

    The hooks only store; every check happens in `collect`, outside the network.

    Args:
        network: the network to listen to.
        paths: dotted module paths; "" is the network itself.
        owner: what to call the network in errors ("student", "teacher").

    Raises:
        TapError: if a path does not exist.
    """

    def __init__(self, network: nn.Module, paths: Iterable[str], owner: str) -> None:
        self._owner = owner
        self._modules = {path: find_module(network, path, owner) for path in paths}
        self._outputs: dict[str, list[Any]] = {path: [] for path in self._modules}
        self._handles: list[RemovableHandle] = []
        self._listening = False

    def attach(self) -> None:
        """Register the hooks (once, however often it is called)."""
        if not self._handles:
            for path, module in self._modules.items():
                self._handles.append(module.register_forward_hook(self._keep_output(path)))

    def detach(self) -> None:
        """Remove the hooks and forget what they captured."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.stop()

    def listen(self) -> None:
        """Start a step: forget earlier outputs and capture from now on."""
        self.stop()
        self._listening = True

    def stop(self) -> None:
        """End a step: forget every output and capture no more (validation is not listened to)."""
        self._listening = False
        for outputs in self._outputs.values():
            outputs.clear()

    def collect(self) -> dict[str, Any]:
        """Give the captured output of every path, and end the step.

        Raises:
            TapError: if a module did not run since `listen`, or ran more than once.
        """
        for path, outputs in self._outputs.items():
            if len(outputs) != 1:
                raise self._wrong_count(path, len(outputs))
        captured = {path: outputs[0] for path, outputs in self._outputs.items()}
        self.stop()
        return captured

    def _keep_output(self, path: str) -> Any:  # noqa: ANN401 - a forward hook
        outputs = self._outputs[path]

        def keep(module: nn.Module, arguments: Any, output: Any) -> None:  # noqa: ANN401
            if self._listening:
                outputs.append(output)

        return keep

    def _wrong_count(self, path: str, count: int) -> TapError:
        kind = type(self._modules[path]).__name__
        if count:
            what = f"the {self._owner}'s {kind} ran {count} times in one step."
            hint = "Tap a module that runs once, or call it once per training step."
        else:
            what = f"the {self._owner}'s {kind} did not run, so its hook did not fire."
            hint = "Call the module itself, not its .forward(), in every training step."
        return TapError(what, where=path or f"the {self._owner} itself", hint=hint)
