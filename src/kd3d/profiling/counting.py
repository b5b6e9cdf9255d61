"""Count a forward pass by hooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from kd3d.profiling.cost import FREE, Cost
from kd3d.profiling.module_cost import ModuleCost
from kd3d.profiling.rules import Rule, find_rule

__all__ = ["count_modules"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def count_modules(
    model: nn.Module, run: Callable[[], object], rules: Mapping[type, Rule]
) -> ModuleCost:
    """Run a model once and give what each of its modules costs.

    Modules are watched by forward hooks, which are gone afterwards, whatever happens. A module with
    a rule is watched as a whole; what lies inside it is part of it.

    Args:
        model: any module.
        run: runs the model.
        rules: class to rule.
    """
    root = _plan(model, "", rules, set())
    handles: list[RemovableHandle] = []
    try:
        for node in root.walk():
            if node.rule is not None:
                handles.append(node.module.register_forward_hook(node.note, with_kwargs=True))
        run()
    finally:
        for handle in handles:
            handle.remove()
    return _sum_up(root, set())


@dataclass(eq=False)
class _Node:
    path: str
    module: nn.Module
    rule: Rule | None
    children: list["_Node"]
    cost: Cost = FREE
    calls: int = 0
    own: list[nn.Parameter] = field(default_factory=list)

    def walk(self) -> list["_Node"]:
        return [self, *(node for child in self.children for node in child.walk())]

    def note(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,  # noqa: ANN401 - whatever modules return
    ) -> None:
        """Add a call: a forward hook."""
        assert self.rule is not None
        self.cost += self.rule(module, (*args, *kwargs.values()), output)
        self.calls += 1


def _plan(module: nn.Module, path: str, rules: Mapping[type, Rule], seen: set[nn.Module]) -> _Node:
    """Make the tree of modules; one at several places stands at the first of them."""
    seen.add(module)
    rule = find_rule(module, rules)
    children = []
    for name, child in () if rule else module.named_children():
        if child not in seen:
            children.append(_plan(child, f"{path}.{name}" if path else name, rules, seen))
    own = list(module.parameters(recurse=rule is not None))
    return _Node(path, module, rule, children, own=own)


def _sum_up(node: _Node, counted: set[nn.Parameter]) -> ModuleCost:
    parameters = 0
    for parameter in node.own:
        if parameter not in counted:
            counted.add(parameter)
            parameters += parameter.numel()
    children = [_sum_up(child, counted) for child in node.children]
    return ModuleCost(
        path=node.path,
        kind=type(node.module).__name__,
        parameters=parameters + sum(child.parameters for child in children),
        cost=reduce(add, (child.cost for child in children), node.cost),
        calls=node.calls,
        transposed=isinstance(node.module, _TRANSPOSED),
        gap=_gap(node),
        children=tuple(filter(_says_something, children)),
    )


def _gap(node: _Node) -> str:
    if node.rule is None:
        return "no rule for its parameters" if node.own else ""
    return "" if node.calls or not node.own else "never called"


def _says_something(module: ModuleCost) -> bool:
    """Tell activations, identities and empty containers from the rest."""
    return bool(module.parameters or module.calls or module.children or module.gap)
