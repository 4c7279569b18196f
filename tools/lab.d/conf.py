"""Configuration files as the lab writes them: sections of keys, later ones over earlier ones."""


def ini(*layers):
    """Text of an oslo.config file from layers {section: {key: value}}."""
    merged = {}
    for layer in layers:
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    lines = []
    for section, keys in merged.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items()), ""]
    return "\n".join(lines)
