"""Acting around methods of a LightningModule, and undoing it.

Methods are wrapped on the instance. However many act around one method, there is one wrapper, so
they may come and leave in any order, and the last to leave takes the wrapper away. A copy of the
module, by `copy.deepcopy` or pickle, gets its own method without a wrapper.
"""

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

__all__ = ["StepAmender", "unwrap_training_step", "when_complete", "wrap_training_step"]


class StepAmender(Protocol):
    """Something that acts before and after a training step."""

    def before_step(self, batch: Any) -> Any:  # noqa: ANN401 - any batch
        """Give the batch that the step is to train on."""

    def after_step(self, output: Any) -> Any:  # noqa: ANN401 - any step output
        """Give the output that the step is to return."""


def wrap_training_step(module: nn.Module, amender: StepAmender) -> None:
    """Let `amender` act on ``module.training_step``; doing so twice is doing it once.

    The wrapper lies inside the trainer's autocast, gradient accumulation and loss scaling, so that
    terms added to the loss are treated as the loss is.
    """
    _join(module, "training_step", amender, _AmendedStep)


def unwrap_training_step(module: nn.Module, amender: StepAmender) -> None:
    """Undo `wrap_training_step`; harmless if nothing is wrapped."""
    _leave(module, "training_step", amender)


def when_complete(module: nn.Module, action: Callable[[], None]) -> Callable[[], None]:
    """Call `action` once, when a LightningModule has made all its layers.

    That is after its own ``setup`` and ``configure_model``, and before Lightning restores a
    checkpoint, wraps the module for several processes and configures its optimisers. Lightning has
    no hook there. To be called in ``Callback.setup``.

    Returns:
        A function that takes back what has not happened yet.
    """

    def after_setup() -> None:
        _leave(module, "setup", after_setup)
        _join(module, "configure_model", after_model, _Followed)

    def after_model() -> None:
        _leave(module, "configure_model", after_model)
        action()

    def cancel() -> None:
        _leave(module, "setup", after_setup)
        _leave(module, "configure_model", after_model)

    _join(module, "setup", after_setup, _Followed)
    return cancel


class _Wrapper:
    """Stands on a module in place of one of its methods."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name
        self.original: Callable[..., Any] = getattr(module, name)
        self.shadowed = name in vars(module)  # a compiled step, or somebody else's wrapper
        self.members: list[Any] = []
        setattr(module, name, self)

    def restore(self) -> None:
        if self.shadowed:
            setattr(self.module, self.name, self.original)
        else:
            delattr(self.module, self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.module, self.name)  # the copy's method, since it has no wrapper yet


class _AmendedStep(_Wrapper):
    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__(module, name)
        self.__wrapped__ = self.original  # Lightning reads its signature to know what to pass

    def __call__(self, batch: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        for amender in self.members:
            batch = amender.before_step(batch)
        output = self.original(batch, *args, **kwargs)
        for amender in self.members:
            output = amender.after_step(output)
        return output


class _Followed(_Wrapper):
    # without __wrapped__: Lightning would look through it, and skip a configure_model that the
    # module does not override
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = self.original(*args, **kwargs)
        for action in tuple(self.members):  # an action takes itself away
            action()
        return result

    @property
    def __code__(self) -> Any:  # noqa: ANN401 - Lightning compares the code of methods
        return type(self).__call__.__code__


def _join(module: nn.Module, name: str, member: object, kind: type[_Wrapper]) -> None:
    method = getattr(module, name)
    wrapper = method if isinstance(method, _Wrapper) else kind(module, name)
    if member not in wrapper.members:
        wrapper.members.append(member)


def _leave(module: nn.Module, name: str, member: object) -> None:
    wrapper = getattr(module, name)
    if isinstance(wrapper, _Wrapper) and member in wrapper.members:
        wrapper.members.remove(member)
        if not wrapper.members:
            wrapper.restore()
