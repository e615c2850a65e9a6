"""Tables about a model, as text."""


def summary_text(model):
    """Layers of a model: output shape, parameters, FLOPs of one sample, what the plan fuses."""
    plan = model._require_plan()
    graph = model._graph
    sizes = {}
    for parameter in graph.parameters:
        size = 1
        for length in parameter.spec.shape:
            size *= length
        sizes[parameter.layer] = sizes.get(parameter.layer, 0) + size
    described = {}
    for entry in plan.describe():
        described.setdefault(entry["name"], entry)
        for name in entry["members"][1:]:
            described[name] = {"fused": f"in {entry['name']}"}
    rows = [("layer", "kind", "output shape", "parameters", "FLOPs", "fused")]
    for name, shape in zip(graph.input_names, graph.input_data_shapes):
        rows.append((name, "Input", str(shape), "", "", ""))
    seen = set()
    for node in graph.nodes:
        layer = node.layer
        entry = described.get(graph.names[layer], {})
        size = 0 if layer in seen else sizes.get(layer, 0)
        seen.add(layer)
        frozen = " (frozen)" if size and not layer.trainable else ""
        rows.append((graph.names[layer], type(layer).__name__, str(node.shape), f"{size:,}{frozen}",
                     f"{entry.get('flops', 0):,}", entry.get("fused", "")))
    return f"{model.name}: {model.count_params():,} parameters, {model.dtype}\n{table(rows, right=(3, 4))}"


def plan_text(model):
    """The compiled plan: nodes, what is fused, memory, threads."""
    plan = model._require_plan()
    rows = [("node", "op", "output shape", "FLOPs", "fused")]
    for entry in plan.describe():
        rows.append((entry["name"], entry["op"], str(tuple(entry["shape"])), f"{entry['flops']:,}", entry["fused"]))
    # The arena is sized by the largest batch so far.
    arena = f"{plan.arena_bytes / 1024:,.1f} KiB" if plan.arena_bytes else "no memory yet"
    return (f"plan of {model.name}: at most {plan.n_threads} threads, {arena} for activations and gradients\n"
            f"{table(rows, right=(3,))}")


def table(rows, right=()):
    """Rows of strings in aligned columns, a line under the first row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
