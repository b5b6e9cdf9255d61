"""How many channels a tapped module gives, known before the first step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from kd3d.distill.taps import Taps, find_module
from kd3d.errors import ConfigError, TapError

__all__ = ["Channels", "channels_of_weights", "check_channels", "example_probe"]

_ATTRIBUTES = ("out_channels", "out_features", "num_features", "num_channels")

#: Runs a network and tells the channels of one module: of its owner, the network, and the path.
Probe = Callable[[str, nn.Module, str], int | None]


class Channels:
    """The channels that modules of student and teacher give, for `Objective.build_adapters`.

    A number is read from the module's ``out_channels`` (``out_features``, ``num_features``,
    ``num_channels``), or from the layers of a `torch.nn.Sequential`. If these do not tell, the
    network is run once on an example, if the LightningModule has an ``example_input_array``; if
    not, the last layer with weights inside the module is taken. The first step checks the numbers.

    Args:
        student: the network that the student's paths start from.
        teacher: the same of the teacher; None if there is no teacher.
        probe: runs a network on an example.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None, probe: Probe | None = None
    ) -> None:
        self._networks = {"student": student, "teacher": teacher}
        self._probe = probe
        #: What was answered, by owner and path.
        self.told: dict[str, dict[str, int]] = {"student": {}, "teacher": {}}

    def student(self, path: str) -> int:
        """Give the number of channels of a module of the student.

        Args:
            path: dotted path, as in `Objective.student_taps`.

        Raises:
            TapError: if there is no such module.
            ConfigError: if nothing tells the number.
        """
        return self._channels("student", path)

    def teacher(self, path: str) -> int:
        """Give the number of channels of a module of the teacher.

        Args:
            path: dotted path, as in `Objective.teacher_taps`.

        Raises:
            TapError: if there is no such module.
            ConfigError: if nothing tells the number, or there is no teacher.
        """
        return self._channels("teacher", path)

    def _channels(self, owner: str, path: str) -> int:
        network = self._networks[owner]
        if network is None:
            raise ConfigError(
                f"there is no {owner} whose channels could be told.",
                where=path,
                hint="Let the objective's needs_teacher be True, and give KDCallback a teacher.",
            )
        module = find_module(network, path, owner)
        found = channels_of_weights(module)
        if found is None and self._probe is not None:
            found = self._probe(owner, network, path)
        if found is None:
            found = _last_weights(module)
        if found is None:
            raise ConfigError(
                f"nothing tells how many channels this {type(module).__name__} of the {owner} "
                "gives.",
                where=path,
                hint="Give it an attribute out_channels, set the LightningModule's "
                "example_input_array, or build the adapter with a number.",
            )
        self.told[owner][path] = found
        return found


def channels_of_weights(module: nn.Module) -> int | None:
    """Read how many channels a module gives, or None if it does not tell for sure.

    Any module may tell by an attribute ``out_channels``; convolutions (sparse ones too), linear
    layers and norms do. A `torch.nn.Sequential` gives what its last telling layer gives.
    """
    for name in _ATTRIBUTES:
        value = getattr(module, name, None)
        if isinstance(value, int) and value > 0:
            return value
    if isinstance(module, nn.Sequential):
        for layer in reversed(module):
            if any(True for _ in layer.parameters()):
                return channels_of_weights(layer)
    return None


def _last_weights(module: nn.Module) -> int | None:
    """Read the last layer with weights: right if layers are made in the order they run."""
    told = [channels_of_weights(layer) for layer in module.modules() if _has_weights(layer)]
    return next((number for number in reversed(told) if number is not None), None)


def _has_weights(layer: nn.Module) -> bool:
    return any(True for _ in layer.parameters(recurse=False))


def example_probe(pl_module: nn.Module, device: torch.device) -> Probe | None:
    """Make a probe that runs networks on a LightningModule's ``example_input_array``.

    The student's module is run as a whole, the teacher's network by itself; on `device`, in
    evaluation mode, without gradients, and with buffers, training modes and random states put back.

    Returns:
        The probe, or None if there is no example. It raises `TapError` if the module whose channels
        are asked for does not run exactly once.
    """
    example = getattr(pl_module, "example_input_array", None)
    if example is None:
        return None

    def probe(owner: str, network: nn.Module, path: str) -> int | None:
        run = pl_module if owner == "student" else network
        taps = Taps(network, [path], owner)
        taps.attach()
        taps.listen()
        try:
            with isolate_rng(), torch.no_grad(), _left_as_found(run):
                _run(run.to(device).eval(), move_data_to_device(example, device))
            return _channels_in(taps.collect()[path])
        finally:
            taps.detach()

    return probe


def _run(network: nn.Module, example: Any) -> None:  # noqa: ANN401 - as Lightning takes it
    if isinstance(example, Mapping):
        network(**example)
    elif isinstance(example, tuple | list):
        network(*example)
    else:
        network(example)


def check_channels(owner: str, told: Mapping[str, int], captured: Mapping[str, Any]) -> None:
    """Check what adapters were built for against what modules gave.

    Raises:
        TapError: if a module gave another number of channels.
    """
    for path, number in told.items():
        output = captured.get(path)
        if output is None or number in _channel_sizes(output):
            continue
        raise TapError(
            f"the {owner}'s module gives {_channels_in(output)} channels, its weights told "
            f"{number}, so the adapter does not fit.",
            where=path,
            hint="Give the module an attribute out_channels, or build the adapter with a number.",
        )


@contextmanager
def _left_as_found(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, name, buffer, value in buffers:
            module._buffers[name] = buffer.copy_(value)
        for module, mode in modes:
            module.training = mode


def _channels_in(output: Any) -> int | None:  # noqa: ANN401 - whatever a module gave
    sizes = _channel_sizes(output)
    return sizes[0] if sizes else None


def _channel_sizes(output: Any) -> tuple[int, ...]:  # noqa: ANN401 - whatever a module gave
    """Give the sizes that may be channels: ``[B, C, ...]``, ``[..., C]`` or sparse features."""
    tensor = getattr(output, "features", output)
    if not isinstance(tensor, Tensor) or tensor.ndim < 2:
        return ()
    return tensor.shape[1], tensor.shape[-1]
