import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from foldstill.base_models import EarlyStopping, Recipe, SecondStage, TimmMember
from foldstill.base_models.planned_jobs import flat
from foldstill.data.mixing import Mosaic
from foldstill.data.moving import HorizontalFlip
from foldstill.errors import FoldstillError


def test_settings_import_neither_torch_nor_pydantic():
    code = "import sys, foldstill.base_models; print([m for m in ('torch', 'timm', 'pydantic') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: Recipe(epochs=0), "epochs"),
        (lambda: Recipe(batch_size=1), "batch norm"),
        (lambda: Recipe(lr=0), "lr must be positive"),
        (lambda: Recipe(warmup=1.0), "warmup"),
        (lambda: Recipe(schedule="step", lr_end=0.1), "at which one_cycle and cosine end"),
        (lambda: Recipe(ema=1.0), "ema"),
        (lambda: Recipe(step_factor=1.5), "step_factor"),
        (lambda: Recipe(row_weight_maximum=0), "row_weight_maximum"),
        (lambda: Recipe(betas=(0.9, 1.0)), "betas must be decays"),
        (lambda: Recipe(row_weight="clamp", unweighted_epochs=20), "must leave one of the 20 epochs"),
        (lambda: Recipe(unweighted_epochs=3), "has no effect where rows have no weights"),
        (lambda: Recipe(second_stage=SecondStage(starts_from="best")), "needs early_stopping, which judges epochs"),
        (lambda: SecondStage(first_max_votes=0), "first_max_votes must be 1 or more"),
        (
            lambda: SecondStage(min_votes=5, min_votes_unanimous=5),
            "min_votes_unanimous must be 1 or more and less than",
        ),
        (lambda: EarlyStopping(share=1.0), "share"),
        (lambda: SecondStage(epochs=0), "second_stage"),
        (lambda: SecondStage(batch_size=1), "batch norm needs two rows"),
        (lambda: TimmMember("a/b", "test_vit"), "folder"),
        (lambda: TimmMember("a", "test_vit", stem_stride=3), "stem_stride"),
        (lambda: TimmMember("a", "test_vit", drop_rate=1.0), "drop_rate"),
        (lambda: TimmMember("a", "test_vit", image_size=0), "image_size"),
        (lambda: Recipe().for_second_stage(), "second stage"),
    ],
)
def test_settings_refuse_what_makes_no_sense(settings, said):
    with pytest.raises(FoldstillError, match=said):
        settings()


def test_a_warm_up_is_not_repeated_in_the_second_stage():
    recipe = Recipe(
        row_weight="damped", unweighted_epochs=3, augment=(Mosaic(epochs=3), HorizontalFlip()),
        second_stage=SecondStage(epochs=2, lr=1e-4, batch_size=8),
    )  # fmt: skip
    second = recipe.for_second_stage()
    assert (second.epochs, second.lr, second.row_weight, second.unweighted_epochs) == (2, 1e-4, "damped", 0)
    assert second.augment == (HorizontalFlip(),)


def test_an_experiment_file_can_hold_a_whole_member():
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(TimmMember)
    text = {
        "kind": "timm",
        "name": "vit",
        "network": "test_vit",
        "image_size": [32, 64],
        "options": {"patch_size": 8},
        "recipe": {
            "epochs": 3,
            "loss": {"kind": "ce_kl", "kl_weight": 1.0},
            "augment": [{"kind": "horizontal_flip"}, {"kind": "cutmix", "p": 0.3, "shape": "time"}],
            "early_stopping": {"patience": 2},
            "second_stage": {"min_votes": 5},
        },
    }
    member = adapter.validate_json(json.dumps(text), strict=True)
    assert member.resize == (32, 64)
    assert [a.kind for a in member.recipe.augment] == ["horizontal_flip", "cutmix"]
    assert member.recipe.loss.kind == "ce_kl"
    assert member.family == "test_vit"
    assert json.loads(json.dumps(asdict(member)))["recipe"]["second_stage"]["min_votes"] == 5
    with pytest.raises(ValidationError, match="epohcs"):
        adapter.validate_python(text | {"recipe": {"epohcs": 3}})


def test_flat_names_every_setting_by_its_place():
    one = flat("member", asdict(TimmMember("a", "test_vit")))
    two = flat("member", asdict(TimmMember("a", "test_vit", recipe=Recipe(ema=0.9))))
    assert [key for key in one if one[key] != two[key]] == ["member.recipe.ema"]
