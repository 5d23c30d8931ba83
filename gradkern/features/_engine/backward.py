"""Where autograd's backward passes stop, and which kind of gradient the running one brings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class AutogradEntry:
    """Gives a tensor that needs no gradient the same memory as a tensor whose gradient is computed.

    A leaf would keep its gradient until the end, and a model that works in place could not be given one.
    """

    def __init__(self) -> None:
        self._start = torch.zeros(
            (), requires_grad=True, dtype=torch.float32, device="cpu"
        )  # what `backward` runs to; its own gradient is None
        self._is_used = False

    def __call__(self, tensor: Tensor) -> Tensor:
        self._is_used = True
        return _Enter.apply(self._start, tensor)  # type: ignore[no-any-return, no-untyped-call]

    @property
    def start(self) -> Tensor:
        return self._start

    @property
    def is_used(self) -> bool:
        return self._is_used


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, tensor: Tensor) -> Tensor:
        return tensor.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None


class BackwardPasses:
    """The backward passes over the graph of one forward pass; hooks ask it for the kind of gradient that arrives."""

    def __init__(self) -> None:
        self.entry = AutogradEntry()
        self._kind: str | None = None

    @property
    def kind(self) -> str | None:
        """The kind of gradient that the running backward pass brings; None while none runs."""
        return self._kind

    def run(
        self,
        kind: str,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor] | None,
        parameters: Sequence[Tensor],
        *,
        is_last: bool,
    ) -> None:
        """Go back from `tensors` to the entry and to `parameters`.

        Nothing else gets a .grad: an objective's own parameters, for example. The graph is kept unless this is the
        last pass over it.
        """
        self._kind = kind
        try:
            torch.autograd.backward(
                tensors, gradients, inputs=[self.entry.start, *parameters], retain_graph=not is_last
            )
        except RuntimeError as error:
            if "use_reentrant" in str(error):
                raise RuntimeError(
                    "the model is checkpointed with use_reentrant=True, which hides its layers; switch checkpointing "
                    "off, in transformers by model.gradient_checkpointing_disable()"
                ) from error
            raise
        finally:
            self._kind = None
