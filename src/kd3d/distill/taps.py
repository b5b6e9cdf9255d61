"""Capturing what modules inside a network return, by their dotted path."""

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.distill.captured import Stamp, describe_tensor
from kd3d.distill.first_run import COMPILED, FirstRun, is_compiled
from kd3d.errors import TapError

__all__ = ["Taps", "find_module", "find_student", "forget_compiled"]


def find_module(network: nn.Module, path: str, owner: str) -> nn.Module:
    """Look a module up by its dotted path.

    Args:
        network: where to look.
        path: dotted path as in `torch.nn.Module.named_modules`, the same whether or not modules are
            compiled; "" is the network itself.
        owner: what to call the network in the error ("student", "teacher").

    Raises:
        TapError: if there is no such module; names the nearest paths that exist.
    """
    modules: dict[str, nn.Module] = {}
    for name, found in network.named_modules():
        modules.setdefault(_uncompiled(name), found)  # the compiled one comes first
    module = modules.get(_uncompiled(path))
    if module is not None:
        return module
    near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4) or list(modules)[1:4]
    raise TapError(
        f"the {owner} ({type(network).__name__}) has no module at this path.",
        where=path,
        hint=f"Nearest: {', '.join(repr(name) for name in near)}." if near else None,
    )


def find_student(module: nn.Module, path: str) -> nn.Module:
    """Look up the detector inside a LightningModule.

    Raises:
        TapError: if there is no such module; names the module's children.
    """
    try:
        return find_module(module, path, "student")
    except TapError as error:
        children = [repr(name) for name, _ in module.named_children()]
        raise TapError(
            error.what,
            where=f"student_path={path!r}",
            hint=f"{type(module).__name__} has {', '.join(children) or 'no children'}; "
            "student_path='' is the module itself.",
        ) from error


def _uncompiled(path: str) -> str:
    return ".".join(part for part in path.split(".") if part != COMPILED)


def forget_compiled(network: nn.Module) -> None:
    """Have a compiled network compiled anew, since it may have run before it was tapped.

    Compiled code does not notice hooks that are registered after it was made.
    """
    if any(map(is_compiled, network.modules())):
        torch.compiler.reset()


class _Capture:
    """A forward hook that keeps outputs while it listens; copies of it are deaf.

    It only appends to lists: nothing here makes a compiled module compile again in every step.
    Inside compiled code, versions are the compiler's business, and not noted.
    """

    def __init__(self) -> None:
        self.listening = False
        self.outputs: list[Any] = []
        self.stamps: list[Stamp] = []

    def __call__(self, module: nn.Module, arguments: Any, output: Any) -> None:  # noqa: ANN401
        if self.listening:
            self.outputs.append(output)
            if not torch.compiler.is_compiling():
                self.stamps.append(Stamp(output))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Capture, ()

    def overwritten(self) -> tuple[str, Tensor] | None:
        """Give name and tensor of what was overwritten since it was captured, or None."""
        found = (stamp.changed() for stamp in self.stamps)
        return next((changed for changed in found if changed is not None), None)


class Taps:
    """Forward hooks that keep the latest output of some modules of a network.

    The hooks only store; every check happens in `collect`, outside the network. Until one step has
    been collected, all modules of the network are watched, so that errors can name them; later
    steps cost nothing but the captures.

    Args:
        network: the network to listen to.
        paths: dotted module paths; "" is the network itself.
        owner: what to call the network in errors ("student", "teacher").

    Raises:
        TapError: if a path does not exist.
    """

    def __init__(self, network: nn.Module, paths: Iterable[str], owner: str) -> None:
        self._network = network
        self._owner = owner
        self._modules = {path: find_module(network, path, owner) for path in paths}
        self._captures = {path: _Capture() for path in self._modules}
        self._handles: list[RemovableHandle] = []
        self._first_run: FirstRun | None = None
        #: Whether the next run is watched, module by module. Not if more than the network is
        #: compiled, since hooks would be compiled with it.
        self.watches = True

    def module(self, path: str) -> nn.Module:
        """Give the module at a tapped path."""
        return self._modules[path]

    def attach(self) -> None:
        """Register the hooks (once, however often it is called)."""
        if not self._handles:
            for path, module in self._modules.items():
                self._handles.append(module.register_forward_hook(self._captures[path]))

    def detach(self) -> None:
        """Remove the hooks and forget what they captured."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.stop()

    def listen(self) -> None:
        """Start a step: forget earlier outputs and capture from now on."""
        self.stop()
        for capture in self._captures.values():
            capture.listening = True
        if self.watches:
            self._first_run = FirstRun(self._network, self._overwritten)

    def stop(self) -> None:
        """End a step: forget every output and capture no more (validation is not listened to)."""
        if self._first_run is not None:
            self._first_run.end()
            self._first_run = None
        for capture in self._captures.values():
            capture.listening = False
            capture.outputs.clear()
            capture.stamps.clear()

    def collect(self) -> dict[str, Any]:
        """Give the captured output of every path, and end the step.

        Raises:
            TapError: if a module did not run since `listen`, or ran more than once, or what it gave
                was overwritten by an in-place operation.
        """
        try:
            for path, capture in self._captures.items():
                if len(capture.outputs) != 1:
                    raise self._wrong_count(path, len(capture.outputs))
            for path in self._overwritten():
                raise self._lost(path)
            self.watches = False
            return {path: capture.outputs[0] for path, capture in self._captures.items()}
        finally:
            self.stop()

    def _overwritten(self) -> list[str]:
        return [path for path, capture in self._captures.items() if capture.overwritten()]

    def _lost(self, path: str) -> TapError:
        name, tensor = self._captures[path].overwritten() or ("", torch.empty(0))
        kind = type(self._modules[path]).__name__
        output = f"'{name}' of what" if name else "what"
        if self._first_run is not None:
            who = self._first_run.who(path)
        else:
            who = "in this step, which it was not in the first one"
        return TapError(
            f"{output} the {self._owner}'s {kind} gave, {describe_tensor(tensor)}, was overwritten "
            f"in place {who}.",
            where=self._name(path),
            hint="Set inplace=False there (or write y = y + x for y += x), or tap the module that "
            "gives the overwritten values.",
        )

    def _wrong_count(self, path: str, count: int) -> TapError:
        kind = type(self._modules[path]).__name__
        if count:
            what = f"the {self._owner}'s {kind} ran {count} times in one step."
            hint = "Tap a module that runs once, or call it once per training step."
        else:
            what = f"the {self._owner}'s {kind} did not run, so its hook did not fire."
            hint = self._why_silent(path)
        return TapError(what, where=self._name(path), hint=hint)

    def _why_silent(self, path: str) -> str:
        ran = [] if self._first_run is None else [name for name in self._first_run.ran if name]
        inside = [name for name in ran if not path or name.startswith(f"{path}.")]
        if inside:
            return (
                f"'{inside[0]}' inside it did run: call the module itself, not its .forward() or "
                "its layers one by one, or tap one of those."
            )
        hint = "Call the module itself, not its .forward(), in every training step."
        near = difflib.get_close_matches(path, ran, n=3, cutoff=0.0)
        if near:
            hint += f" Nearest that did run: {', '.join(map(repr, near))}."
        return hint

    def _name(self, path: str) -> str:
        return path or f"the {self._owner} itself"
