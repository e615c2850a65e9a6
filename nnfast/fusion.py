"""From layers to operations: which layers the compiled plan carries out in one pass.

=====================  =========================================================================================
layer                  becomes part of
=====================  =========================================================================================
Flatten, Reshape       nothing: another name for the same numbers
Rescale of an input    the gathering of a batch
an activation          the dense layer, convolution, normalization or sum before it
max-pooling            the convolution before it, if its windows lie side by side
batch normalization    in inference: the kernel and bias of the dense layer or convolution (not a transposed one) before
                       it
dropout                in inference: nothing
a convolution          a dense layer, if its kernel is as large as the image
=====================  =========================================================================================

A layer joins the one before it only if nobody else sees what lies between, which then is never stored. Values keep the
numbers they have in the graph, so that training and inference agree on those that both of them make.
"""

from collections import Counter

#: activations that do not fall and whose derivative is known from their value: they commute with a maximum
POOLED_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "relu6", "hard_sigmoid", "selu")


def operations(spec):
    """The description of a compiled plan from that of a graph (`Graph.plan_spec`)."""
    inputs, nodes, outputs = spec["inputs"], spec["nodes"], spec["outputs"]
    gathered, training = fuse(inputs, nodes, outputs)
    return {
        "dtype": spec["dtype"], "channels_first": spec["channels_first"], "parameters": spec["parameters"],
        "shapes": [entry["shape"] for entry in inputs + nodes], "inputs": gathered, "training": training,
        "inference": fuse(inputs, nodes, outputs, inference=True)[1], "outputs": outputs,
        "output_names": spec["output_names"],
    }


def fuse(inputs, nodes, outputs, inference=False):
    """The operations of a network.

    Parameters
    ----------
    inputs : list of dict
        "name" and "shape" of values 0, 1, ...
    nodes : list of dict
        What each layer makes of earlier values: "name", "op", "inputs", "shape" and the op's own entries, in
        topological order. Node i makes value ``len(inputs) + i``.
    outputs : list of int
    inference : bool
        Whether only the outputs are wanted, not their derivatives.

    Returns
    -------
    inputs : list of dict
        "value": the value that the data become by ``scale * data + offset``; "members": the layers' names; "made": the
        values of all of them.
    operations : list of dict
        As the nodes, with "output" and "input_shapes"; "members": all layers in it; "made": the values of all of them;
        "fused": in words, what is done besides the operation; "pool", "normalization": the nodes of these layers, if
        there are any.
    """
    shapes = [entry["shape"] for entry in inputs] + [node["shape"] for node in nodes]
    uses = Counter(at for node in nodes for at in node["inputs"])
    uses.update(outputs)
    holder = list(range(len(shapes)))       # the value where each value's numbers are
    gathered = [dict(entry, value=i, scale=1.0, offset=0.0, members=[entry["name"]], made=[i])
                for i, entry in enumerate(inputs)]
    producer, result = {}, []
    for made, node in enumerate(nodes, start=len(inputs)):
        source = node["inputs"][0]
        before = holder[source]
        if node["op"] == "reshape" or (inference and node["op"] == "dropout" and made not in outputs):
            holder[made] = before
            uses[made] += uses[source] - 1      # the value with both names has all their readers but this one
            continue
        # Of the input itself, not behind a dropout: training and inference gather the same.
        if node["op"] == "rescale" and source < len(inputs) and uses[source] == 1:
            gathered[source].update(value=made, scale=node["scale"], offset=node["offset"])
            gathered[source]["members"].append(node["name"])
            gathered[source]["made"].append(made)
            continue
        # Nobody else sees what lies between, and no reshape does either.
        if uses[source] == 1 and shapes[source] == shapes[before]:
            operation = producer.get(before)
            if operation is not None and join(operation, node, inference):
                operation["members"].append(node["name"])
                operation["made"].append(made)
                operation.update(output=made, shape=node["shape"])
                producer[made] = operation
                continue
        operation = dict(node, output=made, inputs=[holder[at] for at in node["inputs"]],
                         input_shapes=[shapes[at] for at in node["inputs"]], members=[node["name"]], made=[made],
                         fused=[])
        if is_dense(node):
            operation["op"] = "dense"
        if node.get("bias", -1) >= 0:
            operation["fused"].append("bias")
        if node["op"] != "activation" and node.get("activation", "linear") != "linear":
            operation["fused"].append(node["activation"])
        producer[made] = operation
        result.append(operation)
    return gathered, result


def join(operation, node, inference):
    """Whether an operation can do the next node's work, too; if so, it is told to."""
    if operation.get("activation") is None or "pool" in operation:
        return False
    linear = operation["activation"] == "linear"
    # Not an output that is a reshape, see Graph.plan_spec.
    if (node["op"] == "activation" and linear and operation["op"] != "activation"
            and node["shape"] == operation["shape"]):
        operation.update(activation=node["activation"], alpha=node["alpha"])
        operation["fused"].append(node["activation"])
        return True
    if (inference and node["op"] == "batch_norm" and linear and operation["op"] in ("dense", "conv")
            and "normalization" not in operation):
        operation["normalization"] = node
        operation["fused"].append("batch_norm")
        return True
    if node["op"] == "max_pool" and pools(operation, node):
        operation["pool"] = node
        operation["fused"].append("max_pool")
        return True
    return False


def is_dense(node):
    """Whether a node is a convolution whose kernel covers the whole image: it makes one pixel, of all the numbers."""
    if node["op"] != "conv" or node["groups"] > 1:
        return False
    H, W, OH, OW, R, S, _, _, *padding, _, _ = node["window"]
    return (OH, OW) == (1, 1) and (H, W) == (R, S) and not any(padding)


def pools(operation, node):
    """Whether a convolution can do a max-pooling layer's work."""
    H, W, OH, OW, R, S, stride_h, stride_w, *padding, dilation_h, dilation_w = node["window"]
    return (operation["op"] == "conv" and operation["activation"] in POOLED_ACTIVATIONS
            and operation["window"][4:12] != (1, 1, 1, 1, 0, 0, 0, 0)   # a product of matrices, without rows of pixels
            and (R, S) == (stride_h, stride_w) and not any(padding) and (dilation_h, dilation_w) == (1, 1))
