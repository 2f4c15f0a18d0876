"""Every kind of member after two epochs on tiny data: its losses, what it says of rows it never saw, and its table."""

from pathlib import Path

import numpy as np
import pytest

import golden_access as access
from golden_files import Golden
from made_up import ON_CPU, TWO_VIEWS, call, eeg_table, timm_table, write_two_views

MEMBERS = f"""
name = "members"
{TWO_VIEWS}[folds]
n_folds = 2
test_share = 0.2
strategy = "grouped"
[recipe]
epochs = 2
batch_size = 16

{timm_table("timm")}
[[member]]
name = "timm with everything"
network = "test_efficientnet"
image_size = 20
stem_stride = 1
drop_rate = 0.2
temperature = "row"
[member.recipe]
ema = 0.9
schedule = "plateau"
sampling = "balanced"
row_weight = "log1p"
loss = {{ kind = "ce_kl" }}
augment = [{{ kind = "horizontal_flip" }}, {{ kind = "shift" }}, {{ kind = "noise" }}, {{ kind = "cutout" }}, {{ kind = "cutmix" }}, {{ kind = "mixup" }}]
early_stopping = {{ share = 0.2, patience = 2 }}
second_stage = {{ min_votes = 5, epochs = 1, starts_from = "best" }}

{eeg_table("eeg attention", separate=[2], temperature="class")}[member.recipe]
lr = 1e-2
schedule = "cosine"
augment = [{{ kind = "time_shift" }}, {{ kind = "channel_dropout" }}, {{ kind = "gain" }}]

{eeg_table("eeg recurrent", between="recurrent")}recipe = {{ optimizer = "sgd", lr = 0.05, sampling = "votes" }}

{eeg_table("eeg of pictures", "image", kernel=3, blocks=0)}recipe = {{ optimizer = "adam", row_weight = "clamp" }}

[[member]]
name = "joined"
kind = "joined"
members = ["timm", "eeg attention"]
hidden = 8
recipe = {{ lr = 1e-2, augment = [{{ kind = "mixup" }}] }}

[[member]]
name = "joined by blocks"
kind = "joined"
members = ["timm", "eeg attention"]
hidden = 8
blocks = 1
heads = 2
backbone_rate = 0.1
"""
NAMES = (
    *("timm", "timm with everything", "eeg attention", "eeg recurrent", "eeg of pictures"),
    *("joined", "joined by blocks"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    write_two_views(folder / "two-views.npz")
    (folder / "members.toml").write_text(MEMBERS)
    with pytest.MonkeyPatch.context() as patch:
        line = ("train", folder / "members.toml", "--out", folder / "run", "--workers", "1", *ON_CPU)
        assert call(patch, *line) == 0
        assert call(patch, "oof", "build", folder / "run") == 0
    return folder / "run"


def test_every_kind_of_member_learns_what_it_learned(trained: Path, golden: Golden) -> None:
    scores, truth = access.scores_of(trained / "oof.parquet"), access.truth_of(trained / "oof.parquet")
    assert scores.members == NAMES
    # Kinds that came after the goldens were recorded are held by their own tests.
    assert access.member_kinds() >= {"timm", "eeg", "joined"}
    result = {}
    for m, name in enumerate(NAMES):
        proba_NC = scores.proba_NMC[:, m]
        result[name] = {
            "held_out_kl": access.kl_of(truth, proba_NC),
            "mean_p_log_p": float((proba_NC * np.log(proba_NC)).sum(axis=1).mean()),
            "first_rows": proba_NC[:3],
            "epochs_of_fold_0": access.curve(trained / "members" / name / "fold-0"),
        }
    golden("members", result)


def test_the_tables_of_a_run_hold_the_rows_they_held(trained: Path, golden: Golden) -> None:
    result = {}
    for name in ("oof", "test"):
        scores, truth = access.scores_of(trained / f"{name}.parquet"), access.truth_of(trained / f"{name}.parquet")
        assert scores.ids.tolist() == truth.ids.tolist()
        result[name] = {
            "rows": len(scores.ids),
            "ids": " ".join(scores.ids),
            "groups": len(set(truth.groups)),
            "strata": {stratum: int((truth.strata == stratum).sum()) for stratum in sorted(set(truth.strata))},
            "members": list(scores.members),
            "classes": list(scores.classes),
            "fold_models": scores.n_models,
            "mean_of_members": scores.proba_NMC.mean(axis=0),
            "spread_of_members": scores.proba_NMC.std(axis=0),
        }
    fold_N, _ = access.folds_of_run(trained)
    result["folds"] = {str(fold): int((fold_N == fold).sum()) for fold in sorted(set(fold_N.tolist()))}
    golden("tables", result)
