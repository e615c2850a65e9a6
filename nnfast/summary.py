"""What is said about models and data, as text."""

import math


def described_layers(model):
    """A dict for each input and layer: output shape, parameters, FLOPs of one sample, what the plan fuses."""
    plan = model._require_plan()
    graph = model._graph
    sizes = {}
    for parameter in graph.parameters:
        sizes[parameter.layer] = sizes.get(parameter.layer, 0) + math.prod(parameter.spec.shape)
    described = {}      # by the number of the value that is made
    for entry in [*plan.describe(), *plan.gathered]:
        first, *others = entry["made"]
        described[first] = entry
        described.update(dict.fromkeys(others, {"fused": f"in {entry['members'][0]}"}))
    layers = [{"name": name, "kind": "Input", "output_shape": shape, "parameters": 0, "frozen": False, "flops": 0,
               "fused": ""} for name, shape in zip(graph.input_names, graph.input_data_shapes)]
    seen = set()
    for made, node in enumerate(graph.nodes, start=len(graph.inputs)):
        layer = node.layer
        entry = described.get(made, {})
        size = 0 if layer in seen else sizes.get(layer, 0)
        seen.add(layer)
        layers.append({"name": graph.names[layer], "kind": type(layer).__name__, "output_shape": node.shape,
                       "parameters": size, "frozen": bool(size) and not layer.trainable,
                       "flops": entry.get("flops", 0), "fused": entry.get("fused", "")})
    return layers


def summary_text(model):
    """The layers of a model as a table."""
    rows = [("layer", "kind", "output shape", "parameters", "FLOPs", "fused")]
    for layer in described_layers(model):
        numbers = ("", "") if layer["kind"] == "Input" else (
            f"{layer['parameters']:,}{' (frozen)' if layer['frozen'] else ''}", f"{layer['flops']:,}")
        rows.append((layer["name"], layer["kind"], str(layer["output_shape"]), *numbers, layer["fused"]))
    return f"{model.name}: {model.count_params():,} parameters, {model.dtype}\n{table(rows, right=(3, 4))}"


def plan_text(model):
    """The compiled plan: nodes, what is fused, stages, memory, threads."""
    plan = model._require_plan()
    lines = [f"plan of {model.name}: {model.dtype}, at most {plan.n_threads} threads, "
             f"{size_text(plan.arena_bytes) if plan.arena_bytes else 'no memory yet'} for activations and gradients"]
    for entry in plan.gathered:
        if len(entry["members"]) > 1:
            lines.append(f"{entry['name']}: {', '.join(entry['members'][1:])} while a batch is gathered")
    programs = [("predict and evaluate", "inference", True)]
    if model.compiled:
        programs.insert(0, ("a training step", "training", False))
    for title, program, inference in programs:
        rows = [("node", "op", "output shape", "FLOPs", "fused", "buffers of a sample")]
        for entry in plan.describe(inference):
            buffers = ", ".join(f"{what} {size_text(size)}" for what, size in entry["buffers"].items())
            rows.append((entry["name"], entry["op"], str(tuple(entry["shape"])), f"{entry['flops']:,}", entry["fused"],
                         buffers))
        lines += ["", f"{title}, {size_text(plan.memory(1, inference))} for a batch of 1, "
                      f"{size_text(plan.memory(64, inference))} for 64", table(rows, right=(3,))]
        lines += [f"stage {i}, by {by}: {work_text(work)}"
                  for i, (by, work) in enumerate(plan.stages(program), start=1)]
        segments = {} if inference else plan.segments(64)
        if segments:
            lines.append("of a batch of 64 the last stage adds up gradients that threads have made by segments of it: "
                         + ", ".join(f"{name} ({count})" for name, count in segments.items()))
    lines += ["", "By samples: a thread takes all of its own through a stage at once, or so few at a time that what "
              "one operation writes is in the cache for the next.",
              "Threads wait for each other between two stages, unless both go by samples; also around convolutions "
              "where samples do not divide well among them (3 on 2): they share the pixels then."]
    return "\n".join(lines)


def work_text(work):
    """Pairs (what, name), with runs of the same kind of work gathered."""
    runs = []
    for what, name in work:
        if runs and runs[-1][0] == what:
            runs[-1][1].append(name)
        else:
            runs.append((what, [name]))
    return "; ".join(f"{what} {', '.join(names)}" for what, names in runs)


def size_text(size):
    """A number of bytes."""
    for unit, scale in (("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size} bytes"


def counted(number, noun):
    """How many there are of something: 1 class, 2 classes."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def table(rows, right=()):
    """Rows of strings in aligned columns, a line under the first row."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
