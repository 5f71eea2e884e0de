"""The arms of the language experiment: FF layers, what each is held against, and which result is an arm's best."""

RATES = (1e-3, 3e-3)
GATE = "dense 512"  # what has to reach the published loss, with nanoGPT's initial values
PUBLISHED, TOLERANCE = 1.88, 0.03  # nanoGPT's readme
WIDTHS = (9, 14, 28, 32, 36, 53, 67, 80, 95, 192, 256, 512, 1024, 2048)
ARMS = {
    "none": {"ff": "none"},
    **{f"dense {width}": {"ff": "dense", "width": width} for width in WIDTHS},
    **{
        f"PathFFF {trees} x {depth + 1} levels{what}": {"ff": "path", "trees": trees, "depth": depth, **options}
        for what, forests, options in (
            ("", ((1, 8), (4, 6), (16, 4), (64, 2), (128, 1)), {}),
            (", routing gradient", ((1, 8), (16, 4), (64, 2)), {"route_gradient": "straight-through"}),
            (", activation behind the sum", ((1, 8), (16, 4)), {"activation": "identity", "behind": "gelu"}),
        )
        for trees, depth in forests
    },
    **{
        f"LeafFFF depth {depth}, leaves of {width}": {"ff": "leaf", "depth": depth, "leaf_width": width}
        for depth, width in ((3, 64), (4, 32), (6, 8), (6, 32))
    },
    "TopLeaves 2 of 64, leaves of 16": {"ff": "top", "depth": 6, "leaf_width": 16},
    "MoE 2 of 16, experts of 32": {"ff": "moe", "experts": 16, "width": 32},
    **{
        f"MoE 2 of {experts}, experts of {width}, no noise": {
            "ff": "moe", "experts": experts, "width": width, "drawn_gate": True, "gate_noise": False,
        }
        for experts, width in ((16, 32), (64, 16))
    },
}
DENSE = {"PathFFF 1 x": 9, "PathFFF 4 x": 28, "PathFFF 16 x": 80, "PathFFF 64 x": 192, "PathFFF 128 x": 256,
         "LeafFFF depth 3,": 67, "LeafFFF depth 4,": 36, "LeafFFF depth 6, leaves of 8": 14,
         "LeafFFF depth 6, leaves of 32": 36, "TopLeaves": 53, "MoE 2 of 16": 67, "MoE 2 of 64": 32}  # fmt: skip
RIVALS = {  # the dense layer that engages as many neurons, to within three; of `TopLeaves`, as a search finds them
    arm: f"dense {width}" for arm in ARMS for start, width in DENSE.items() if arm.startswith(start)
}
WHOLE = {"TopLeaves 2 of 64, leaves of 16": "dense 95"}  # if all nodes are counted


def best(results):
    """Return, by arm, the result of seed 0 with the least loss on held-out text."""
    chosen = {}
    for row in results:
        if row["seed"] == 0:  # the search is at seed 0; further seeds judge, and must not choose
            kept = chosen.get(row["arm"])
            chosen[row["arm"]] = row if kept is None else min(kept, row, key=lambda r: r["validation_loss"])
    return {arm: chosen[arm] for arm in ARMS if arm in chosen}
