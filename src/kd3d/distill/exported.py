"""Programs of `torch.export` as networks that run and are moved, and nothing else."""

from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from typing_extensions import override

from kd3d.errors import TeacherError

__all__ = ["ExportedNetwork"]


class ExportedNetwork(nn.Module):
    """An exported program as a frozen network.

    Its graph is fixed: it runs as it was exported, in evaluation mode; it has no modules inside
    that could be tapped, and it takes the very arguments that it was exported with.

    Args:
        program: what `torch.export.export` or `torch.export.load` gave.

    Raises:
        TeacherError: if the program was exported in training mode.
    """

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        training = _operators_in_training(program)
        if training:
            raise TeacherError(
                f"the program was exported in training mode ({', '.join(training)}).",
                where="teacher",
                hint="Export the network in evaluation mode: torch.export.export(network.eval(), "
                "...).",
            )
        self._program = program
        self.graph = program.module().requires_grad_(False)
        self.training = False

    @override
    def train(self, mode: bool = True) -> "ExportedNetwork":
        """Stay as exported.

        Raises:
            TeacherError: if training mode is asked for.
        """
        if mode:
            raise TeacherError(
                "an exported program has no training mode.",
                where="teacher_mode",
                hint="Use teacher_mode='eval', or pass the network itself.",
            )
        return self

    @override
    def to(self, device: torch.device | str) -> "ExportedNetwork":  # type: ignore[override]
        """Move weights, and the tensors that the graph makes, to a device, in place.

        Raises:
            TeacherError: if this version of torch cannot do it.
        """
        current = next((tensor.device for tensor in self.graph.state_dict().values()), None)
        if current == torch.device(device):
            return self
        try:
            from torch.export.passes import move_to_device_pass
        except ImportError as error:
            raise TeacherError(
                f"torch {torch.__version__} cannot move an exported program.",
                where=f"teacher on {current}",
                hint=f"Export it on {device}, or use a newer torch.",
            ) from error
        self._program = move_to_device_pass(self._program, torch.device(device))
        self.graph = self._program.module().requires_grad_(False)
        return self

    @override
    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run the program on the arguments that it was exported for."""
        return self.graph(*arguments, **named)


def _operators_in_training(program: ExportedProgram) -> list[str]:
    """Name the operators, norms and dropout, that were traced to behave as in training."""
    found = {}
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
            if argument.name in ("train", "training") and value is True:
                found[str(node.target)] = True
    return list(found)
