"""Adapters: layers of objectives that are trained with the student and never saved with it."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from kd3d.distill.channels import Channels
from kd3d.distill.objectives.base import Objective
from kd3d.errors import CheckpointError, ConfigError

__all__ = ["NAME", "AdapterSet", "build_adapters", "has_adapters"]

#: Name of the child of the LightningModule that holds every adapter.
NAME = "kd3d_adapters"

_NOTHING_TOLD: Mapping[str, Mapping[str, int]] = {"student": {}, "teacher": {}}


class Unsaved(nn.ModuleDict):
    """Modules that are trained with their parent and left out of its state dict.

    Loading does not miss them, so a strict load works with and without them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(_miss_nothing)  # type: ignore[no-untyped-call]

    def state_dict(  # type: ignore[override]
        self,
        *args: Any,  # noqa: ANN401 - as torch.nn.Module
        destination: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Give nothing, wherever in a larger module this is."""
        return {} if destination is None else destination


def _miss_nothing(module: nn.Module, incompatible: Any) -> None:  # noqa: ANN401
    missing: list[str] = incompatible.missing_keys
    missing[:] = [key for key in missing if NAME not in key.split(".")]


class AdapterSet:
    """The adapters of one callback.

    Args:
        modules: the adapters, by objective and name.
        told: the channels they were built for, by owner ("student", "teacher") and path.
    """

    def __init__(
        self,
        modules: Mapping[str, Mapping[str, nn.Module]],
        told: Mapping[str, Mapping[str, int]] = _NOTHING_TOLD,
    ) -> None:
        self.live = _as_modules(modules)
        self.told = told
        #: Averaged copies of the student that other callbacks keep, and the adapters' copies there.
        self.averaged: list[tuple[nn.Module, nn.ModuleDict]] = []

    def __len__(self) -> int:
        return len(self.live)

    def join(self, pl_module: nn.Module, key: str, callbacks: Iterable[object]) -> None:
        """Make the adapters children of a LightningModule, and of its averaged copies.

        They come last, so that the student's own parameters keep their order. Callbacks that
        average weights (`lightning.pytorch.callbacks.WeightAveraging`) pair parameters by order
        and made their copy before the adapters were known.

        Args:
            pl_module: the student's module.
            key: name of this set among others.
            callbacks: all callbacks of the trainer.
        """
        _holder(pl_module)[key] = self.live
        for average in _averages(callbacks, pl_module):
            device = next(average.parameters()).device
            twin = copy.deepcopy(self.live).to(device)
            _holder(average)[key] = twin
            self.averaged.append((average, twin))

    def leave(self, pl_module: nn.Module, key: str) -> None:
        """Undo `join`; the weights stay with this set."""
        for module in (pl_module, *(average for average, _ in self.averaged)):
            holder = getattr(module, NAME, None)
            if isinstance(holder, Unsaved) and key in holder:
                del holder[key]
                if not holder:
                    delattr(module, NAME)

    def of(self, objective: str) -> dict[str, nn.Module]:
        """Give the adapters of one objective, by name."""
        if objective not in self.live:
            return {}
        return dict(self.live[objective].named_children())

    def idle(self, active: Mapping[str, Objective]) -> Tensor | None:
        """Give a zero that keeps adapters of other objectives in the graph, or None.

        Data-parallel training waits for a gradient of every parameter.

        Args:
            active: the objectives that act in this step.
        """
        values = [
            value.sum()
            for name, modules in self.live.items()
            if name not in active
            for value in modules.parameters()
        ]
        return 0.0 * sum(values[1:], values[0]) if values else None

    def check_optimised(self, optimizers: Iterable[Optimizer]) -> None:
        """Check that the student's optimisers train every adapter.

        Raises:
            ConfigError: if one is left out, as when only the detector's parameters are optimised.
        """
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        trained = {id(parameter) for group in groups for parameter in group["params"]}
        for name, parameter in self.live.named_parameters():
            if groups and parameter.requires_grad and id(parameter) not in trained:
                raise ConfigError(
                    "configure_optimizers() leaves this adapter out, so it would not be trained.",
                    where=f"{NAME}: {name}",
                    hint="Optimise self.parameters(), or add those of "
                    f"getattr(self, '{NAME}', None).",
                )

    def state_dict(self) -> dict[str, Any]:
        """Give plain tensors: ``adapters``, and ``averaged`` for each averaged model."""
        averaged = [dict(twin.state_dict()) for _, twin in self.averaged]
        return {"adapters": dict(self.live.state_dict()), "averaged": averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave.

        Raises:
            CheckpointError: if it belongs to other adapters.
        """
        try:
            self.live.load_state_dict(state["adapters"])
            for (_, twin), values in zip(self.averaged, state["averaged"], strict=False):
                twin.load_state_dict(values)
        except RuntimeError as error:
            raise CheckpointError(
                f"its adapters are not this run's: {error}",
                where="the checkpoint's KDCallback",
                hint="Resume with the same objectives and networks, in the same order.",
            ) from error


def has_adapters(objectives: Mapping[str, Objective]) -> bool:
    """Tell whether an objective may have adapters."""
    return any(
        type(item).build_adapters is not Objective.build_adapters for item in objectives.values()
    )


def build_adapters(objectives: Mapping[str, Objective], channels: Channels) -> AdapterSet:
    """Build the adapters of all objectives; random states are put back afterwards.

    Raises:
        ConfigError: if an objective gives no modules, or names that cannot be.
    """
    with isolate_rng():  # a run is the same with and without adapters that are switched off
        modules = {name: item.build_adapters(channels) for name, item in objectives.items()}
    for name, built in modules.items():
        if not isinstance(built, Mapping) or not all(
            isinstance(module, nn.Module) for module in built.values()
        ):
            raise ConfigError(
                "build_adapters() must give modules by name.", where=f"objectives.{name}"
            )
    return AdapterSet({name: built for name, built in modules.items() if built}, channels.told)


def _as_modules(modules: Mapping[str, Mapping[str, nn.Module]]) -> nn.ModuleDict:
    try:
        return nn.ModuleDict({name: nn.ModuleDict(dict(own)) for name, own in modules.items()})
    except KeyError as error:
        raise ConfigError(
            f"an adapter cannot be called like this ({error.args[0]}).",
            where="objectives",
            hint="Choose another name, without a dot, for the objective or its adapter.",
        ) from error


def _holder(module: nn.Module) -> Unsaved:
    if not hasattr(module, NAME):
        module.add_module(NAME, Unsaved())
    holder: Unsaved = getattr(module, NAME)
    return holder


def _averages(callbacks: Iterable[object], pl_module: nn.Module) -> list[nn.Module]:
    """Find the copies of a module that callbacks average its weights in."""
    held = [value for callback in callbacks for value in vars(callback).values()]
    copies = [value.module for value in held if isinstance(value, AveragedModel)]
    return [module for module in copies if isinstance(module, type(pl_module))]
