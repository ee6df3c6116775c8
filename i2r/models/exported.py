"""Networks that `torch.export.save` wrote, read as data and computed step by step.

`torch.export.load` must not see a stranger's file: it looks up functions by names in the file,
hands sizes to SymPy, which evaluates them, and loads shared libraries. The archive itself is plain,
though: a graph as JSON, and weights as bytes. Here the graph is read as JSON, every step has to be
one of ATen's operators or a rule of arithmetic, and nothing else in the archive is opened.
"""

import io
import json
import math
import operator
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_PLAIN = {
    "as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings",
}  # fmt: skip
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in (
        "add", "sub", "mul", "floordiv", "truediv", "mod", "neg",
        "ge", "gt", "le", "lt", "eq", "ne",
    )
} | {"math.ceil": math.ceil, "math.floor": math.floor}  # fmt: skip
_ATEN = re.compile(r"torch\.ops\.aten\.([a-z]\w*)\.(\w+)")
_CHECKS = re.compile(r"torch\.ops\.aten\.(_assert\w*|sym_constrain_range\w*)\.\w+")
# Operators that read or write files.
_FORBIDDEN = {"from_file", "save", "load"}
_LARGEST_GRAPH = 2**28


class _Step(NamedTuple):
    """One node of the graph: what it calls, with what, and the names of what comes out."""

    call: Callable[..., Any]
    arguments: tuple[tuple[str, Mapping[str, Any]], ...]
    positional: int
    outputs: tuple[tuple[str, ...], ...]


class ExportedNetwork:
    """A network of an exported program, in the form it was exported in.

    Attributes
    ----------
    shape : tuple of (int or None)
        Of what it is shown, (n, c, y, x); None where any number goes.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        tensors: Mapping[str, Tensor],
        shown: str,
        given: str,
        shape: tuple[int | None, ...],
    ) -> None:
        self._steps, self._tensors = tuple(steps), dict(tensors)
        self._shown, self._given, self.shape = shown, given, shape

    @property
    def n_bytes(self) -> int:
        """What the weights take."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def to(self, device: torch.device | str) -> "ExportedNetwork":
        """Move the weights."""
        self._tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Compute the network's output.

        Raises
        ------
        ValueError
            If it can't be computed for images of this shape, or is not one tensor.
        """
        values: dict[str, Any] = {**self._tensors, self._shown: images}
        try:
            for step in self._steps:
                arguments = [(name, _read(value, values)) for name, value in step.arguments]
                found = step.call(
                    *(value for _, value in arguments[: step.positional]),
                    **dict(arguments[step.positional :]),
                )
                _keep(found, step.outputs, values)
        except (RuntimeError, TypeError, KeyError, IndexError, ZeroDivisionError) as error:
            detail = str(error).strip().splitlines()[:1]
            raise ValueError(
                f"the network can't be computed for images of shape {tuple(images.shape)} "
                f"({type(error).__name__}: {''.join(detail)[:150]})"
            ) from error
        output = values[self._given]
        if not isinstance(output, Tensor):
            raise ValueError(f"the network gives {type(output).__name__}, expected a tensor")
        return output


def decode_exported(data: bytes) -> ExportedNetwork:
    """Read the network of a file that `torch.export.save` wrote.

    Parameters
    ----------
    data
        The file, in the format of PyTorch 2.8 and newer.

    Raises
    ------
    ValueError
        If it is none, holds weights as pickles, calls anything but operators of ATen, or is not a
        function from one batch of images to one tensor.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > len(data):
                raise ValueError("is larger unpacked than packed; torch packs nothing")
            names = {name.partition("/")[2]: name for name in archive.namelist()}
            graphs = [name for name in names if re.fullmatch(r"models/[^/]+\.json", name)]
            if len(graphs) != 1:
                raise ValueError(
                    f"no network of torch.export: {len(graphs)} graphs in the archive, expected one"
                )
            model = graphs[0].removeprefix("models/").removesuffix(".json")
            if archive.getinfo(names[graphs[0]]).file_size > _LARGEST_GRAPH:
                raise ValueError("the graph is larger than that of any network of images")
            program = json.loads(archive.read(names[graphs[0]]))
            tensors = {}
            for kind in ("weights", "constants"):
                listed = names.get(f"data/{kind}/{model}_{kind}_config.json")
                config = json.loads(archive.read(listed))["config"] if listed else {}
                for name, entry in config.items():
                    part = archive.read(names[f"data/{kind}/{entry['path_name']}"])
                    tensors[name] = _read_tensor(name, entry, part)
        return _build(program["graph_module"], tensors)
    except (zipfile.BadZipFile, KeyError, TypeError, AttributeError, IndexError, RuntimeError,
            RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:  # fmt: skip
        raise ValueError(
            "no network of torch.export that can be read; export it with PyTorch 2.8 or newer"
        ) from error


def _read_tensor(name: str, entry: Mapping[str, Any], data: bytes) -> Tensor:
    """Make a tensor of its bytes."""
    if entry["use_pickle"]:
        raise ValueError(f"{name!r} is a pickle, which i2r does not open")
    meta = entry["tensor_meta"]
    sizes, strides = (
        [int(number["as_int"]) for number in meta[axis]] for axis in ("sizes", "strides")
    )
    if not data:
        return torch.zeros(sizes, dtype=_DTYPES[meta["dtype"]])
    flat = torch.frombuffer(bytearray(data), dtype=_DTYPES[meta["dtype"]])
    offset = int(meta["storage_offset"]["as_int"])
    return flat.as_strided(sizes, strides, offset if offset < flat.numel() else 0).clone()


def _build(module: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ExportedNetwork:
    """Put a program together, and check every step of it."""
    signature, graph = module["signature"], module["graph"]
    bound: dict[str, Tensor] = {}
    shown: list[str] = []
    for spec in signature["input_specs"]:
        (kind, content), *_ = spec.items()
        if kind == "user_input":
            shown.append(content["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            bound[content["arg"]["name"]] = tensors[content[f"{kind}_name"]]
        else:
            raise ValueError(f"an input of the kind {kind!r}, expected images and weights")
    outputs = [next(iter(spec.items())) for spec in signature["output_specs"]]
    learns = any(
        given["name"] in ("training", "train") and given["arg"].get("as_bool")
        for node in graph["nodes"]
        for given in node["inputs"]
    )
    if learns or any(kind != "user_output" for kind, _ in outputs):
        raise ValueError("it was exported while it learns: call .eval() first")
    if len(shown) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{len(shown)} inputs and {len(outputs)} outputs, expected one batch of images and one "
            "tensor"
        )
    steps = [_read_step(node) for node in graph["nodes"] if not _CHECKS.fullmatch(node["target"])]
    sizes = graph["tensor_values"][shown[0]]["sizes"]
    shape = tuple(int(size["as_int"]) if "as_int" in size else None for size in sizes)
    if len(shape) != 4:
        raise ValueError(f"its input has {len(shape)} axes, expected 4: n, c, y, x")
    given = outputs[0][1]["arg"]["as_tensor"]["name"]
    return ExportedNetwork(steps, bound, shown[0], given, shape)


def _read_step(node: Mapping[str, Any]) -> _Step:
    """Look up what a node calls; nothing but ATen and arithmetic is found."""
    target = str(node["target"])
    call = _ARITHMETIC.get(target)
    if call is None:
        parts = _ATEN.fullmatch(target)
        packet = getattr(torch.ops.aten, parts[1], None) if parts else None
        call = getattr(packet, parts[2], None) if parts else None
        if not parts or parts[1] in _FORBIDDEN or not isinstance(call, torch._ops.OpOverload):
            raise ValueError(
                f"it calls {target!r}, expected operators of ATen alone: export plain layers, "
                "without custom operators and control flow"
            )
    arguments = tuple((str(given["name"]), given["arg"]) for given in node["inputs"])
    # 2 stands for a keyword; arithmetic has none.
    positional = sum(given.get("kind", 1) != 2 for given in node["inputs"])
    return _Step(call, arguments, positional, tuple(_list_names(out) for out in node["outputs"]))


def _list_names(output: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what comes out: one value, or a list of tensors, which is marked by a leading ''."""
    (kind, content), *_ = output.items()
    if kind == "as_tensors":
        return ("", *(str(item["name"]) for item in content))
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return (str(content["as_name"]),)
    return (str(content["name"]),) if kind == "as_tensor" else ()


def _keep(found: Any, outputs: tuple[tuple[str, ...], ...], values: dict[str, Any]) -> None:
    """Keep what a step gave under its names."""
    given = found if len(outputs) > 1 else [found]
    for names, value in zip(outputs, given, strict=False):
        if names[:1] == ("",):
            values.update(zip(names[1:], value, strict=True))
        elif names:
            values[names[0]] = value


def _read(argument: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Give an argument's value."""
    (kind, content), *_ = argument.items()
    return content if kind in _PLAIN else _READERS[kind](content, values)


def _read_symbol(content: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    return values[content["as_name"]] if "as_name" in content else next(iter(content.values()))


# Layouts and devices are left out: tensors stay where the images are.
_READERS: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "as_none": lambda content, values: None,
    "as_layout": lambda content, values: None,
    "as_device": lambda content, values: None,
    "as_tensor": lambda content, values: values[content["name"]],
    "as_tensors": lambda content, values: [values[item["name"]] for item in content],
    "as_optional_tensors": lambda content, values: [
        values[item["as_tensor"]["name"]] if "as_tensor" in item else None for item in content
    ],
    "as_sym_int": _read_symbol,
    "as_sym_float": _read_symbol,
    "as_sym_bool": _read_symbol,
    "as_sym_ints": lambda content, values: [_read_symbol(item, values) for item in content],
    "as_scalar_type": lambda content, values: _DTYPES[content],
    "as_memory_format": lambda content, values: _MEMORY_FORMATS[content],
}
