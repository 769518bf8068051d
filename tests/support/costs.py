"""Cost of a computation in floating-point operations."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class CountFlops(TorchDispatchMode):
    """Counter of the operations of products and convolutions, backward passes included.

    torch's own counter hooks the modules, which a gradient by an input of the head does not bear.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        cost = flop_registry.get(func._overloadpacket)
        if cost is not None:
            self.total += cost(*args, **(kwargs or {}), out_val=found)
        return found
