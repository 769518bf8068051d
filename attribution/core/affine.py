"""Test of whether a computed tensor is an affine function of its inputs."""

import re

from torch import Tensor

# Backward nodes of operations that are linear in their only operand, ...
_LINEAR = re.compile(
    "(Unsafe)?View|Reshape(Alias)?|(Uns|S)queeze|T|Transpose|Permute|Expand|Repeat|Clone|Alias|"
    "AsStrided|Slice|Select|Index(Select)?|Gather|Unbind|Split(WithSizes)?|ConstantPadNd|ToCopy|"
    "Flip|Roll|Neg|Sum|Mean|AvgPool2D|(Mkldnn)?AdaptiveAvgPool2D|Upsample(Bilinear|Nearest)2D"
)
# ... jointly linear in all operands, ...
_SUM = re.compile("Add|Sub|Cat|Stack")
# ... and linear in each operand alone.
_PRODUCT = re.compile("(Mkldnn)?Convolution|Mul|Addmm|Mm|Bmm|Baddbmm|Mv|Addmv|Dot|Linear")


def is_affine(outputs: Tensor) -> bool:
    """Return whether ``outputs`` is affine in the tensors that its graph reaches.

    The graph that autograd recorded is walked: every operation in it must be linear, and products
    must have one constant factor. So True is certain; False may be wrong, for an operation that is
    not known here. With parameters frozen, pooling and a linear layer are affine in the
    activations; anything with a ReLU, softmax or normalization by its own input is not.

    Args:
        outputs: Any tensor, computed with gradients enabled.

    Returns:
        True if ``outputs`` is certainly an affine function. Also true for a constant.
    """
    stack, seen = [outputs.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        operands = [parent for parent, _ in node.next_functions]
        parents = [parent for parent in operands if parent is not None]
        if not _is_linear(type(node).__name__.split("Backward")[0], operands, len(parents)):
            return False
        stack += parents
    return True


def _is_linear(name: str, operands: list, dependent: int) -> bool:
    if name == "AccumulateGrad" or _SUM.fullmatch(name):
        return True
    if name == "Div":  # by a constant
        return dependent == 1 and operands[0] is not None
    return dependent == 1 and bool(_LINEAR.fullmatch(name) or _PRODUCT.fullmatch(name))
