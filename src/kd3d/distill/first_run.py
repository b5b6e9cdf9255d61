"""Watching every module of a network run once, to tell who overwrote what, and what ran."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__ = ["COMPILED", "FirstRun", "is_compiled"]

COMPILED = "_orig_mod"
"""The child in which `torch.compile` keeps the module that it wraps."""

_MARKS = (COMPILED, "_compiled_call_impl", "_compiler_ctx")  # by wrapper, in place, Lightning's


_METHODS = ("forward", "training_step")


def is_compiled(module: nn.Module) -> bool:
    """Tell whether `torch.compile` was applied to this very module, or to what runs it."""
    if any(getattr(module, mark, None) for mark in _MARKS):
        return True
    methods = (getattr(module, name, None) for name in _METHODS)
    return any(hasattr(method, "_torchdynamo_orig_callable") for method in methods)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A module is about to run, or has run."""

    path: str
    module: nn.Module
    done: bool

    def __str__(self) -> str:
        return "the network itself" if not self.path else f"'{self.path}'"


class FirstRun:
    """Hooks on the modules of a network that are there for one run.

    Compiled modules, and what is inside them, are left alone: hooks would be compiled with them.

    Args:
        network: the network.
        changed: gives the keys of what has been overwritten by now.
    """

    def __init__(self, network: nn.Module, changed: Callable[[], list[str]]) -> None:
        self._changed = changed
        self._handles: list[RemovableHandle] = []
        self._last: _Moment | None = None
        self._found: dict[str, tuple[_Moment | None, _Moment]] = {}
        #: Paths of the modules that have run, in order.
        self.ran: list[str] = []
        for path, module in _modules_to_watch(network, "", set()):
            before = partial(self._pass, path, done=False)
            after = partial(self._pass, path, done=True)
            self._handles.append(module.register_forward_pre_hook(before))
            self._handles.append(module.register_forward_hook(after))

    def end(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def who(self, key: str) -> str:
        """Say what overwrote something, as exactly as is known."""
        between = self._found.get(key)
        if between is None:
            after = f"after {self._last} had run" if self._last else "while compiled code ran"
            return f"outside its modules, {after}"
        last, now = between
        kind = type(now.module).__name__
        if last is not None and now.done and last.path == now.path:
            how = "(inplace=True)" if getattr(now.module, "inplace", False) else ""
            return f"by {now}, {_a(kind)}{how}"
        if now.done:
            return f"in the forward() of {now}, {_a(kind)}, after {last} had run"
        when = f"after {last} {'had run' if last.done else 'had begun'}" if last else "at first"
        return f"by code between modules, {when} and before {now} ran"

    def _pass(self, path: str, module: nn.Module, *arguments: Any, done: bool) -> None:  # noqa: ANN401
        if torch.compiler.is_compiling():  # somebody else compiles all of it
            return
        now = _Moment(path, module, done)
        for key in self._changed():
            self._found.setdefault(key, (self._last, now))
        if done:
            self.ran.append(path)
        self._last = now


def _modules_to_watch(
    module: nn.Module, path: str, seen: set[int]
) -> Iterator[tuple[str, nn.Module]]:
    if id(module) in seen or is_compiled(module) or isinstance(module, torch.jit.ScriptModule):
        return
    seen.add(id(module))
    yield path, module
    for name, child in module.named_children():
        yield from _modules_to_watch(child, f"{path}.{name}" if path else name, seen)


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"
