"""Names of the classes of a model's outputs, which it keeps and shows."""


def as_names(names):
    """Class names as a list of distinct texts."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"class_names: expected a list of non-empty texts, got {names!r}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"class_names: {twice!r} appears twice")
    return list(names)


def check_names(names, graph):
    """Each output named has as many values as names."""
    shapes = dict(zip(graph.output_names, graph.output_shapes))
    if not isinstance(names, dict):
        if len(shapes) > 1:
            raise ValueError(f"class_names: the model has {len(shapes)} outputs ({', '.join(shapes)}); expected a dict "
                             "of lists by output name")
        names = {next(iter(shapes)): names}
    for output, own in names.items():
        if output not in shapes:
            raise ValueError(f"class_names: unknown output {output!r}; this model has {', '.join(shapes)}")
        size = shapes[output][-1]
        if len(own) != size and not (size == 1 and len(own) == 2):
            raise ValueError(f"class_names: output {output!r} has {size} values, got {len(own)} names")
