"""Pictures, by EfficientNet-Lite0 with its classifier removed. Its weights come as a state dict without any code."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from include.embedding_etl.embed.device import choose_device, number_format, unit_vectors
from include.embedding_etl.embed.pictures import pixels_of, prepare_imagenet
from include.embedding_etl.embed.pretrained import loading
from include.embedding_etl.embed.reduced_precision import fuse_batch_norms
from include.embedding_etl.lane_settings import ModelSettings
from include.embedding_etl.types import Chunk, ModelInfo, Vectors

# (expansion, output channels, blocks, stride of the first, kernel)
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _HEAD = 32, 1280
_BN_EPSILON = 1e-3  # TensorFlow's; with torch's 1e-5 everything loads and the answers are wrong
_HALF = (0.5, 0.5, 0.5)  # Lite models want values from -1 to 1


def load(settings: ModelSettings, info: ModelInfo, device: str | None) -> "EfficientNetEmbedder":  # noqa: ARG001 - Loader
    """Build the network and load its weights, strictly.

    Raises:
        ConfigError: they are not those of an EfficientNet-Lite0.
    """
    import torch

    network = build_network()
    with loading(info):
        weights = torch.load(info.weights_path, weights_only=True, map_location="cpu")
        features = {name: value for name, value in weights.items() if not name.startswith("_fc.")}
        network.load_state_dict(features, strict=True)
    network = fuse_batch_norms(network.eval())
    network = network.to(choose_device(device), number_format(info), memory_format=torch.channels_last)
    return EfficientNetEmbedder(network, info)


class EfficientNetEmbedder:
    """The loaded network."""

    def __init__(self, network: Any, info: ModelInfo) -> None:
        self.dimension = info.dimension
        self._network = network
        self._info = info

    def embed(self, chunks: Sequence[Chunk]) -> Vectors:
        """Embed pictures in input order.

        Source:
            Tan & Le 2019, EfficientNet, in its Lite variant: ReLU6, no squeeze and excitation, stem and head of fixed
            width. The average over the last feature map.
        """
        import torch

        weight = self._network.get_parameter("_conv_head.weight")
        pictures = prepare_imagenet(pixels_of(chunks), _HALF, _HALF).to(weight.device, weight.dtype)
        with torch.inference_mode():
            return unit_vectors(self._network(pictures), self._info)


def build_network() -> Any:
    """The network up to its average, with the names that the published state dict has."""
    from torch import nn

    class Block(nn.Module):
        """Expand, filter each channel, project; added to its input where the shapes allow it."""

        def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
            super().__init__()
            width = inputs * expansion
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            if expansion > 1:
                layers["_expand_conv"] = nn.Conv2d(inputs, width, 1, bias=False)
                layers["_bn0"] = nn.BatchNorm2d(width, _BN_EPSILON)
                layers["_relu0"] = nn.ReLU6(inplace=True)
            layers["_pad"] = nn.ZeroPad2d(_same_padding(kernel, stride))
            layers["_depthwise_conv"] = nn.Conv2d(width, width, kernel, stride, groups=width, bias=False)
            layers["_bn1"] = nn.BatchNorm2d(width, _BN_EPSILON)
            layers["_relu1"] = nn.ReLU6(inplace=True)
            layers["_project_conv"] = nn.Conv2d(width, outputs, 1, bias=False)
            layers["_bn2"] = nn.BatchNorm2d(outputs, _BN_EPSILON)
            for name, layer in layers.items():
                self.add_module(name, layer)
            self._adds = stride == 1 and inputs == outputs

        def forward(self, values: Any) -> Any:
            result = values
            for layer in self.children():
                result = layer(result)
            return result + values if self._adds else result

    blocks, inputs = [], _STEM
    for expansion, outputs, count, stride, kernel in _STAGES:
        for number in range(count):
            blocks.append(Block(inputs, outputs, expansion, stride if number == 0 else 1, kernel))
            inputs = outputs
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            _pad=nn.ZeroPad2d(_same_padding(3, 2)),
            _conv_stem=nn.Conv2d(3, _STEM, 3, 2, bias=False),
            _bn0=nn.BatchNorm2d(_STEM, _BN_EPSILON),
            _relu0=nn.ReLU6(inplace=True),
            _blocks=nn.Sequential(*blocks),
            _conv_head=nn.Conv2d(inputs, _HEAD, 1, bias=False),
            _bn1=nn.BatchNorm2d(_HEAD, _BN_EPSILON),
            _relu1=nn.ReLU6(inplace=True),
            _average=nn.AdaptiveAvgPool2d(1),
            _flatten=nn.Flatten(),
        )
    )


def _same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's "same" for sides that the stride divides: what is odd goes to the right and the bottom."""
    total = kernel - stride
    return (total // 2, total - total // 2, total // 2, total - total // 2)
