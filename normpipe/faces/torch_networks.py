"""The embedded networks in torch: batched on a GPU, and differentiable, from the same weight files.

Each .tflite file is read once into a module of its operators; there is no second copy of the weights to keep in step. The
half-precision and sparse weights are expanded by LiteRT itself, so that both runtimes compute with the same numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from normpipe.batches import Floats
from normpipe.errors import ModelUnavailableError
from normpipe.faces.networks import NetworkFile, quiet_native_code

try:
    import torch
except ImportError as error:
    raise ModelUnavailableError("the face networks on torch need it: pip install 'normpipe[torch]'") from error

from torch import Tensor, nn
from torch.nn import functional

_EXPANSIONS = (schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.DENSIFY)


class TorchNetwork:
    """A network behind the Network protocol, on one device."""

    def __init__(self, file: NetworkFile, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelUnavailableError("torch sees no CUDA device; choose --device cpu")
        self._module = FaceNetwork(file).to(device).requires_grad_(requires_grad=False)
        self._device = device

    def __call__(self, inputs: Floats) -> tuple[Floats, Floats]:
        """See Network."""
        # Full float32 and fixed algorithms: the same numbers as the CPU's up to rounding, and the same on every run.
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            first, second = self._module(torch.from_numpy(inputs).to(self._device).permute(0, 3, 1, 2))
        return first.cpu().numpy(), second.cpu().numpy()


class FaceNetwork(nn.Module):
    """An embedded network as a module: (n, 3, side, side) float32 in the file's range to its two outputs."""

    def __init__(self, file: NetworkFile) -> None:
        super().__init__()
        content = file.read()
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        constants = _constants(content, model)
        self._input = int(graph.inputs[0])
        names = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
        self._outputs = [names[name] for name in file.outputs]
        self._steps = nn.ModuleList()
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            if kind not in _EXPANSIONS:
                self._steps.append(_Step(_OPERATORS[kind], operator, constants, graph.tensors[operator.outputs[0]].shape))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Both outputs, (n, values) or (n, anchors, values)."""
        values = {self._input: pictures}
        for step in self._steps:
            assert isinstance(step, _Step)
            values[step.output] = step([values[index] for index in step.inputs])
        first, second = (values[index] for index in self._outputs)
        return _flat(first), _flat(second)


class _Step(nn.Module):
    """One operator: a function of activations and of the constants it holds as parameters."""

    def __init__(
        self, function: "_Operator", operator: schema.OperatorT, constants: dict[int, Floats], shape: Sequence[int]
    ) -> None:
        super().__init__()
        indices = [int(index) for index in operator.inputs if index >= 0]
        self.inputs = [index for index in indices if index not in constants]
        self.output = int(operator.outputs[0])
        held = [constants[index] for index in indices if index in constants]
        self._weights = nn.ParameterList(torch.from_numpy(array) for array in held if array.dtype == np.float32)
        self._paddings = [array.tolist() for array in held if array.dtype != np.float32]
        self._shape = tuple(int(extent) for extent in shape)
        self._function = function
        self._options = operator.builtinOptions

    def forward(self, activations: Sequence[Tensor]) -> Tensor:
        """The operator's only output."""
        result = self._function(_Call(activations, list(self._weights), self._paddings, self._shape, self._options))
        fused = getattr(self._options, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
        return functional.relu(result) if fused == schema.ActivationFunctionType.RELU else result


@dataclass(frozen=True, slots=True)
class _Call:
    """What an operator sees.

    Attributes:
        activations: NCHW where they have four axes.
        weights: As stored, channels last.
        paddings: What the file holds as integer tensors: room before and after each axis.
        shape: Of the output for one picture, as stored, channels last.
        options: The file's options of this kind of operator.
    """

    activations: Sequence[Tensor]
    weights: Sequence[Tensor]
    paddings: Sequence[Sequence[Sequence[int]]]
    shape: tuple[int, ...]
    options: schema.Conv2DOptionsT


_Operator = Callable[[_Call], Tensor]


def _conv(call: _Call) -> Tensor:
    weight, bias = call.weights
    stride = (call.options.strideH, call.options.strideW)
    picture = _padded(call.activations[0], weight.shape[1:3], stride, call.options.padding, 0.0)
    return functional.conv2d(picture, weight.permute(0, 3, 1, 2), bias, stride)


def _depthwise_conv(call: _Call) -> Tensor:
    weight, bias = call.weights
    stride = (call.options.strideH, call.options.strideW)
    picture = _padded(call.activations[0], weight.shape[1:3], stride, call.options.padding, 0.0)
    return functional.conv2d(picture, weight.permute(3, 0, 1, 2), bias, stride, groups=weight.shape[3])


def _max_pool(call: _Call) -> Tensor:
    window = (call.options.filterHeight, call.options.filterWidth)
    stride = (call.options.strideH, call.options.strideW)
    picture = _padded(call.activations[0], window, stride, call.options.padding, float("-inf"))
    return functional.max_pool2d(picture, window, stride)


def _padded(picture: Tensor, window: Sequence[int], stride: Sequence[int], padding: int, value: float) -> Tensor:
    """SAME padding: as much as gives ceil(extent / stride) outputs, the odd pixel after."""
    if padding == schema.Padding.VALID:
        return picture
    room = [
        max((-(-extent // step) - 1) * step + size - extent, 0)
        for extent, size, step in zip(picture.shape[2:], window, stride, strict=True)
    ]
    if not any(room):
        return picture
    top, left = room[0] // 2, room[1] // 2
    return functional.pad(picture, (left, room[1] - left, top, room[0] - top), value=value)


def _pad(call: _Call) -> Tensor:
    _, (top, bottom), (left, right), (front, back) = call.paddings[0]
    return functional.pad(call.activations[0], (left, right, top, bottom, front, back))


def _resize(call: _Call) -> Tensor:
    return functional.interpolate(call.activations[0], size=call.shape[1:3], mode="bilinear", align_corners=False)


def _depth_to_space(call: _Call) -> Tensor:
    block = call.options.blockSize
    # TensorFlow counts the block before the channel, torch the channel before the block.
    pictures, channels, height, width = call.activations[0].shape
    blocks = call.activations[0].reshape(pictures, block * block, channels // block**2, height, width)
    swapped = blocks.transpose(1, 2).flatten(1, 2)
    return functional.pixel_shuffle(swapped, block)


def _reshape(call: _Call) -> Tensor:
    return call.activations[0].permute(0, 2, 3, 1).reshape(-1, *call.shape[1:])


def _prelu(call: _Call) -> Tensor:
    picture = call.activations[0]
    return torch.where(picture > 0, picture, picture * call.weights[0].permute(2, 0, 1))


_OPERATORS: dict[int, _Operator] = {
    schema.BuiltinOperator.ADD: lambda call: call.activations[0] + call.activations[1],
    schema.BuiltinOperator.CONCATENATION: lambda call: torch.cat(list(call.activations), dim=call.options.axis),
    schema.BuiltinOperator.CONV_2D: _conv,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: _depthwise_conv,
    schema.BuiltinOperator.DEPTH_TO_SPACE: _depth_to_space,
    schema.BuiltinOperator.MAX_POOL_2D: _max_pool,
    schema.BuiltinOperator.PAD: _pad,
    schema.BuiltinOperator.PRELU: _prelu,
    schema.BuiltinOperator.RELU: lambda call: functional.relu(call.activations[0]),
    schema.BuiltinOperator.RESHAPE: _reshape,
    schema.BuiltinOperator.RESIZE_BILINEAR: _resize,
}


def _flat(output: Tensor) -> Tensor:
    """Drop the unit axes that a convolution down to one pixel leaves."""
    return output.flatten(1) if output.ndim == 4 else output


def _constants(content: bytes, model: schema.ModelT) -> dict[int, Floats]:
    """Every constant tensor by index: those stored plainly, and those that LiteRT expands to float32."""
    graph = model.subgraphs[0]
    with quiet_native_code():
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            # A delegate would keep the expanded weights to itself.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
    plain = {
        index
        for index, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None and tensor.sparsity is None
    }
    expanded: set[int] = set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in _EXPANSIONS:
            expanded.add(int(operator.outputs[0]))
    wanted = {index for index in plain | expanded if graph.tensors[index].type != schema.TensorType.FLOAT16}
    return {index: interpreter.get_tensor(index).copy() for index in sorted(wanted)}
