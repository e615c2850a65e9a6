"""What files write as several nodes, made one node again.

GELU before opset 20, x (1 + erf(x / sqrt(2))) / 2; group normalization before opset 18, an InstanceNormalization
between two Reshapes.
"""

import math

from onnx import helper, numpy_helper


def fuse(graph):
    """Replace the nodes of each pattern."""
    if any(node.op_type == "InstanceNormalization" for node in graph.node):
        fuse_groups(graph)
    if any(node.op_type == "Erf" for node in graph.node):
        numbers = {tensor.name: number(tensor) for tensor in graph.initializer}
        for node in graph.node:
            for value in node.attribute if node.op_type == "Constant" else ():
                if value.name in ("value", "value_float"):
                    numbers[node.output[0]] = number(value.t) if value.name == "value" else value.f
        for erf in [node for node in graph.node if node.op_type == "Erf"]:
            Pattern(graph, numbers).replace(erf)


def fuse_groups(graph):
    """(N, C, H, W) as (N, groups, any) normalized, and as another shape again: the middle one becomes a
    GroupNormalization, without scale and bias, of what the first Reshape reads."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays |= {node.output[0]: numpy_helper.to_array(value.t) for node in graph.node if node.op_type == "Constant"
               for value in node.attribute if value.name == "value"}
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {output.name for output in graph.output}
    batches = {dim.dim_value for value in graph.input if value.name not in arrays
               for dim in value.type.tensor_type.shape.dim[:1]}
    for node in [node for node in graph.node if node.op_type == "InstanceNormalization"]:
        before = makers.get(node.input[0])
        readers = [other for other in graph.node if node.output[0] in other.input]
        if node.output[0] in outputs or any(other is None or other.op_type != "Reshape" or len(other.input) < 2
                                            for other in (before, *readers)):
            continue
        shape, scale, bias = (arrays.get(name) for name in (before.input[1], *node.input[1:]))
        if shape is None or scale is None or bias is None or len(shape) != 3 or shape[1] != len(scale) \
                or shape[2] != -1 or (scale != 1).any() or (bias != 0).any():
            continue
        # Samples would be joined; a 0 behind the first would mean another size.
        if (shape[0] != 0 and batches != {shape[0]}) or any((arrays[other.input[1]][1:] == 0).any()
                                                            for other in readers if other.input[1] in arrays):
            continue
        epsilon = {value.name: value.f for value in node.attribute}.get("epsilon", 1e-5)
        node.CopyFrom(helper.make_node("GroupNormalization", [before.input[0]], list(node.output), name=node.name,
                                       num_groups=len(scale), epsilon=epsilon))
        if before.output[0] not in outputs and not any(before.output[0] in other.input for other in graph.node):
            graph.node.remove(before)


def number(tensor):
    """The value of a constant of one element that gives no tensor of features more axes; else None."""
    return numpy_helper.to_array(tensor).item() if math.prod(tensor.dims) == 1 and len(tensor.dims) <= 2 else None


class Pattern:
    """The nodes around an Erf; those asked for that are not there, or not as in GELU, are None."""

    def __init__(self, graph, numbers):
        self.graph, self.numbers = graph, numbers
        self.makers = {name: node for node in graph.node for name in node.output}

    def replace(self, erf):
        """Put a node Gelu in the place of all that belong to this Erf, if they are a GELU."""
        inner = self.makers.get(erf.input[0])
        x = self.other(inner, "Div", math.sqrt(2), ordered=True) or self.other(inner, "Mul", math.sqrt(0.5))
        plus = self.reader(erf)
        if x is None or self.other(plus, "Add", 1.0) is None:
            return
        # x, the sum and 1/2 are multiplied in any order.
        product = self.reader(plus)
        factors = [] if product is None or product.op_type != "Mul" else [*product.input]
        half = next((self.makers[name] for name in factors if self.other(self.makers.get(name), "Mul", 0.5) == x), None)
        if half is not None:
            inside, last = [inner, erf, plus, half], product
        else:
            inside, last = [inner, erf, plus, product], self.reader(product)
            halved_last = x in factors and self.other(last, "Mul", 0.5) is not None
            halved_first = self.other(product, "Mul", 0.5) is not None and last is not None and last.op_type == "Mul"
            if not halved_last and not (halved_first and x in last.input):
                return
        last.CopyFrom(helper.make_node("Gelu", [x], list(last.output), name=last.name))
        for node in reversed(inside):       # what something else reads, too, stays
            if not self.readers(node):
                self.graph.node.remove(node)

    def readers(self, node):
        """The nodes that read a node's output; None among them if it is one of the graph's."""
        name = node.output[0]
        return [None for output in self.graph.output if output.name == name] \
            + [other for other in self.graph.node if name in other.input]

    def reader(self, node):
        """The only one."""
        readers = [] if node is None else self.readers(node)
        return readers[0] if len(readers) == 1 else None

    def other(self, node, op, value, ordered=False):
        """The input of a node of two inputs whose other, the second if `ordered`, is this number."""
        if node is None or node.op_type != op:
            return None
        pairs = [tuple(node.input)] + ([] if ordered else [tuple(reversed(node.input))])
        for name, constant in pairs:
            known = self.numbers.get(constant)
            if isinstance(known, (int, float)) and math.isclose(known, value, rel_tol=1e-5):
                return name
        return None
