import subprocess
import sys

import pytest

from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.losses import DKD, KL
from foldstill.base_models.recipes import EarlyStopping, Recipe, SecondStage
from foldstill.distill.mixes import DirichletMix, VotesOnly
from foldstill.distill.settings import SIZES, StudentSettings
from foldstill.errors import ArgumentError, DistillError


def test_importing_distill_imports_neither_torch_nor_pydantic():
    code = (
        "import foldstill.distill, sys; print(sorted({'torch', 'timm', 'pydantic', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_named_sizes_are_networks_of_timm():
    import timm

    assert all(timm.is_model(name) for name in SIZES.values())
    assert StudentSettings(network="nano").member().network == "mobilenetv4_conv_small_050"
    assert StudentSettings(network="test_resnet").member().network == "test_resnet"


def test_the_student_is_trained_at_its_own_temperature_and_not_with_the_row_weights_of_members():
    member = StudentSettings(recipe=Recipe(row_weight="log1p"), temperature=3.0).member()
    assert member.recipe.loss == KL(temperature=3.0)
    assert member.recipe.row_weight == "none"
    assert StudentSettings(loss="dkd", temperature=3.0).member().recipe.loss == DKD(temperature=3.0)


def test_the_student_without_a_teacher_differs_in_its_targets_only():
    taught = StudentSettings(network="base", mix=DirichletMix(votes=2.0), loss="dkd", temperature=4.0)
    alone = taught.untaught()
    assert (alone.mix, alone.loss, alone.temperature) == (VotesOnly(), "kl", 1.0)
    assert (alone.network, alone.recipe) == (taught.network, taught.recipe)
    assert alone.name != taught.name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"seeds": 0}, "seeds must be 1 or more"),
        ({"foreign": "x.npz"}, "set uncertainty = true"),
        ({"name": "a/b"}, "cannot name a folder"),
        ({"loss": "l2"}, "loss of StudentSettings must be one of"),
        ({"loss": "mse", "temperature": 3.0}, "has no temperature"),
        ({"mix": VotesOnly(), "ablation": "in_sample"}, "a mix of votes has none"),
        ({"recipe": Recipe(early_stopping=EarlyStopping())}, "fixed number of epochs"),
        ({"recipe": Recipe(second_stage=SecondStage())}, "fixed number of epochs"),
        ({"recipe": Recipe(sampling="votes")}, "fixed number of epochs"),
    ],
)
def test_settings_refuse_what_would_mean_nothing(wrong, said):
    with pytest.raises((DistillError, ArgumentError), match=said):
        StudentSettings(**wrong)


def test_a_student_of_signals_is_the_eeg_network_with_its_options() -> None:
    settings = StudentSettings(network="eeg", view="raw_eeg", options={"widths": [8, 16], "features": 32, "heads": 2})
    member = settings.member()
    assert isinstance(member, EegMember)
    assert (member.view, member.widths, member.features) == ("raw_eeg", (8, 16), 32)
    assert settings.untaught().member().widths == (8, 16)
    for wrong in ({"options": {"depth": 3}}, {"stem_stride": 1}, {"pretrained": True}):
        with pytest.raises(DistillError, match=r"leave them out"):
            StudentSettings(network="eeg", **wrong).member()
