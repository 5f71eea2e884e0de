"""One run: its key is made of all facts, and its result is what training and evaluation say."""

import json
import pickle
from dataclasses import fields, replace

import pytest

from fffref import counting, datasets, training
from fffref.experiments import runs, variants
from fffref.training import schedules
from fffref.training.optim import SGD, Adam

OURS = variants.Variant(variants.OURS, training.hardening(epochs=1))
ONE = runs.Run("mnist-small", "LeafFFF", {"depth": 2, "leaf_width": 4}, OURS, seed=3)


def following(recipe):
    """The run with another recipe."""
    return replace(ONE, variant=replace(OURS, recipe=recipe))


def test_a_run_is_all_but_where_its_data_is():
    same = replace(ONE, folder="/elsewhere", sizes=dict(reversed(ONE.sizes.items())))
    assert same.key() == ONE.key() == pickle.loads(pickle.dumps(ONE)).key()
    others = [
        replace(ONE, data="mnist"),
        replace(ONE, seed=4),
        replace(ONE, sizes=ONE.sizes | {"depth": 3}),
        replace(ONE, rates=runs.SEARCHED),
        replace(ONE, held_out=True),
        replace(ONE, variant=replace(OURS, sign="less", ingredient="leaf balance")),
        replace(ONE, layer="DenseFF", sizes={"width": 16}),
    ]
    assert len({run.key() for run in [ONE, *others]}) == 8
    assert replace(ONE, seed=4).form() == ONE.form() and len({run.form() for run in [ONE, *others]}) == 7


OTHER = {
    "epochs": 2, "batch_size": 64, "optimizer": Adam(epsilon=1e-7), "learning_rate": 0.003, "temperature": 0.7,
    "entropy_weight": 0.2, "entropy_reduction": "sum", "balance_weight": 0.4, "balance": "switch", "noise": 0.3,
    "transpose_prob": 0.05, "straight_through": True, "smooth_step": True, "fast": True,
    "route_gradient": "straight-through", "gate_noise": False,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(training.Recipe)])
def test_every_field_of_a_recipe_is_a_part_of_the_key(name):
    changed = replace(ONE.recipe, **{name: OTHER[name]})
    assert changed != ONE.recipe and following(changed).key() != ONE.key()


def test_a_changed_default_changes_the_key(monkeypatch):
    """What a recipe does not say is a fact too: old results do not pass for new ones."""
    before = ONE.key()
    monkeypatch.setattr(training, "NUMERICS", training.NUMERICS + 1)
    raised = ONE.key()
    assert raised != before
    monkeypatch.setattr(training.Recipe, "facts", lambda self: {"epochs": self.epochs})
    assert (
        following(training.Recipe(epochs=1)).key() == following(training.Recipe(epochs=1, noise=1.0)).key()
    )  # sees it


def test_variants_are_data_and_sentences_are_made_where_printed():
    found = variants.variants(epochs=7)
    assert len({variant.recipe for variant in found}) == len(found) == len({v[1:] for v in map(named, found)})
    assert all(variant.recipe.epochs == 7 for variant in found)
    bases = {variant.base: variant.recipe for variant in found if not variant.sign}
    ours, mild = training.hardening(epochs=7), training.paper1(epochs=7, entropy_reduction="mean")
    assert bases == {"hardening": ours, "paper1": training.paper1(epochs=7), variants.MILD: mild}
    for variant in found:
        changed = {
            f.name for f in fields(ours) if getattr(variant.recipe, f.name) != getattr(bases[variant.base], f.name)
        }
        assert bool(changed) == bool(variant.sign) == bool(variant.ingredient)
        assert changed <= {"optimizer", "learning_rate"} or len(changed) <= 2
    assert variants.sentence("hardening", "less", "leaf balance") == "hardening less leaf balance"
    assert variants.sentence("paper1") == "paper1"


def named(variant):
    return variant.recipe, variant.base, variant.sign, variant.ingredient


def test_the_published_recipe_is_the_papers():
    published = variants.bases()[variants.PUBLISHED].recipe
    assert published.optimizer == SGD() and (published.learning_rate, published.batch_size) == (0.2, 256)
    assert (published.entropy_weight, published.entropy_reduction) == (3, "sum")


def test_rivals_are_trained_by_the_same_optimiser_and_nothing_else():
    for base, variant in variants.bases(epochs=5).items():
        dense, experts = variants.for_dense(variant), variants.for_experts(variant)
        shared = {name: getattr(variant.recipe, name) for name in variants.SHARED}
        assert dense.recipe == training.Recipe(**shared)
        assert experts.recipe == training.Recipe(**shared, balance_weight=0.1)
        assert dense.base == experts.base == ("hardening" if base == "hardening" else "paper1")


def test_knobs_are_turned_and_nothing_else():
    ours, published = training.hardening(), training.paper1()
    assert variants.knobs(ours) == {"learning_rate": 0.01, "weight_decay": 0.1}
    assert variants.knobs(published) == {"learning_rate": 0.2}
    turned = variants.turned(ours, 0.03, 0.0)
    assert turned == replace(ours, learning_rate=schedules.OneCycle(0.03), optimizer=Adam())
    assert variants.turned(ours) == ours and variants.turned(ours, **variants.knobs(ours)) == ours
    assert variants.turned(published, 0.4) == replace(published, learning_rate=0.4)


def test_a_result_is_what_train_and_evaluate_say():
    recipe = training.hardening(epochs=2, smooth_step=True)
    result = runs.execute(following(recipe))
    data = datasets.load("mnist-small")
    task = training.Classification(data.x_train, data.y_train)
    layer, history = training.train(following(recipe).make(), task, recipe, seed=3, progress=False)
    test = training.evaluate(layer, data.x_test, data.y_test, training.last_choices(history))
    sigmoid = training.evaluate(layer, data.x_test, data.y_test)
    assert test["soft_accuracy"] != sigmoid["soft_accuracy"] and test["entropy"] != sigmoid["entropy"]
    for name in ("hard_accuracy", "soft_accuracy", "entropy", "leaves_used"):
        assert result[name] == test[name]
    assert result["gap"] == test["soft_accuracy"] - test["hard_accuracy"]
    assert result["validation_accuracy"] == history[-1]["hard_accuracy"]
    assert (result["leaves"], result["busiest"]) == (4, round(max(test["leaf_share"]), 4))
    assert (result["parameters"], result["neurons_engaged"]) == (layer.n_parameters, 6)
    assert result["multiply_adds"] == counting.of(layer).inference.multiply_adds
    assert (result["learning_rate"], result["weight_decay"]) == (0.01, 0.1)
    assert json.loads(json.dumps(result)) == result


def test_a_held_out_run_does_not_see_the_test_data(monkeypatch):
    monkeypatch.setattr(runs, "tested", lambda *_: pytest.fail("looked at the test data"))
    result = runs.execute(replace(ONE, held_out=True))
    assert 0.5 < result["validation_accuracy"] < 1 and not {"hard_accuracy", "soft_accuracy"} & set(result)


def test_cost_grows_with_what_takes_longer():
    longer = [
        following(replace(ONE.recipe, epochs=2)),
        replace(ONE, data="mnist"),
        replace(ONE, sizes=ONE.sizes | {"depth": 5}),
        replace(ONE, layer="MoE", sizes={"n_experts": 16, "expert_width": 4, "k": 2}),
    ]
    assert all(run.cost > ONE.cost for run in longer)
