"""Members that join trained members of other views: a task of which each view tells one half."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from foldstill.base_models import (
    EarlyStopping,
    EegMember,
    FoldModels,
    JoinedMember,
    Recipe,
    SecondStage,
    TimmMember,
    collect,
    predict_members,
    train_members,
)
from foldstill.base_models.engine import fit_network
from foldstill.base_models.joined_member import resolve
from foldstill.base_models.rows import Phase
from foldstill.data.augment import ChannelDropout, HorizontalFlip, Noise
from foldstill.data.dataset import Dataset
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import Mixup
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import DistillError, ExperimentError, FoldstillWarning, MemberError
from foldstill.workers import Work
from made_up import eeg_table, interruptions, is_epoch, member_table, one_worker

pytestmark = pytest.mark.usefixtures("undrawn")

N = 200
RECIPE = Recipe(epochs=4, batch_size=16, augment=(HorizontalFlip(),))
PICTURE = TimmMember("picture", "test_efficientnet", recipe=RECIPE)
SIGNAL = EegMember(
    "signal", view="signal", widths=(8, 8), features=16, heads=2, blocks=1, recipe=replace(RECIPE, augment=(Noise(),))
)
BOTH = JoinedMember(
    "both", ("picture", "signal"), hidden=16, recipe=Recipe(epochs=10, batch_size=16, lr=1e-2, augment=(Mixup(p=0.2),))
)
MEMBERS = [BOTH, PICTURE, SIGNAL]


def make_data():
    """Four classes: pictures tell the first bit, by brightness, signals the second, by a rhythm; two rows a group."""
    rng = np.random.default_rng(0)
    bright, fast = rng.integers(0, 2, N), rng.integers(0, 2, N)
    pictures = (rng.normal(100, 20, (N, 16, 16, 1)) + 40 * bright[:, None, None, None]).clip(0, 255).astype(np.uint8)
    rhythm = np.sin(np.arange(64) / 2) * 1.5
    signals = (rng.normal(size=(N, 3, 64)) + fast[:, None, None] * rhythm).astype(np.float32)
    votes = np.eye(4)[2 * bright + fast] * rng.integers(1, 5, N)[:, None]
    return Dataset(Labels.from_votes(votes, groups=np.arange(N) // 2), {"image": pictures, "signal": signals})


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def plan(data):
    return make_plan(data.labels, n_folds=2, strategy="grouped")


@pytest.fixture(scope="module")
def trained(data, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    train_members(MEMBERS, data, plan, folder, work=one_worker())
    return folder


def read_weights(folder, member, fold):
    return load_file(folder / member / f"fold-{fold}" / "weights.safetensors")


def test_where_each_view_tells_one_half_the_joined_member_beats_each_and_their_average(trained, data, plan):
    table, _ = collect(trained, MEMBERS, data.labels, plan)
    assert table.scores.families == ("joined", "test_efficientnet", "eeg")
    target = table.labels.target_NC
    kl = {m.name: kl_divergence(target=target, proba=table.proba_NMC[:, i]) for i, m in enumerate(MEMBERS)}
    average = kl_divergence(target=target, proba=table.proba_NMC[:, 1:].mean(axis=1))
    assert kl["both"] < 0.5 * min(kl["picture"], kl["signal"], average)


def test_channels_of_one_view_and_the_other_view_as_a_whole_are_nodes_that_look_at_each_other(backbones, data, plan):
    """A picture is one node and a signal three; the joined member has to put two halves together all the same."""
    nodes = replace(BOTH, blocks=1, heads=2)
    members = [nodes, PICTURE, SIGNAL]
    train_members(members, data, plan, backbones, work=one_worker())
    assert read_weights(backbones, "both", 0)["between.exchange.position"].shape == (4, 16)
    table, _ = collect(backbones, members, data.labels, plan)
    target = table.labels.target_NC
    kl = [kl_divergence(target=target, proba=table.proba_NMC[:, i]) for i in range(3)]
    average = kl_divergence(target=target, proba=table.proba_NMC[:, 1:].mean(axis=1))
    assert kl[0] < 0.5 * min(kl[1], kl[2], average)


def test_the_multimodal_network_of_the_two_stage_line_has_27_nodes_and_ten_million_parameters():
    """Published: 10,176,086 parameters; 19 channels, four chains and four panels."""
    picture = EegMember(
        "a", view="stft", widths=(16, 32, 48, 64, 128, 256), kernel=3, features=256, temperature="class"
    )
    members = [
        JoinedMember("joined", ("eeg", "a", "b"), hidden=256, blocks=2, temperature="row"),
        EegMember("eeg", features=256, separate=(18,), temperature="row"),
        picture,
        replace(picture, name="b", view="kaggle"),
    ]
    network = resolve(members)[0].build([(19, 2500), (96, 224, 4), (96, 224, 4)], 6)
    assert network.state_dict()["between.exchange.position"].shape == (27, 256)
    assert 9.5e6 < sum(p.numel() for p in network.parameters()) < 10.5e6
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 19, 200), (2, 4, 96, 64), (2, 4, 96, 64)]
    logits = network([torch.randn(size, generator=generator) for size in sizes])
    assert logits.shape == (2, 6)
    logits[:, 0].sum().backward()
    assert network.head.linear.weight.grad.abs().sum() > 0


def test_a_frozen_joined_network_holds_the_weights_of_its_own_fold_and_of_no_other(trained):
    for fold in (0, 1):
        joined = read_weights(trained, "both", fold)
        for i, name in enumerate(BOTH.members):
            own, other = read_weights(trained, name, fold), read_weights(trained, name, 1 - fold)
            taken = {key.removeprefix(f"parts.{i}."): value for key, value in joined.items() if f"parts.{i}." in key}
            assert taken.keys() == own.keys()
            assert all(np.array_equal(value, own[key]) for key, value in taken.items())
            assert not all(np.array_equal(value, other[key]) for key, value in taken.items())


@pytest.mark.parametrize("temperature", ["none", "row", "class"])
def test_it_starts_as_the_geometric_average_of_its_parts(temperature, data, trained):
    joined = resolve([replace(BOTH, temperature=temperature), PICTURE, SIGNAL])[0]
    network = joined.build([(16, 16, 1), (3, 64)], 4)
    network.adopt([load_torch(trained / name / "fold-0/weights.safetensors") for name in BOTH.members])
    views = [torch.from_numpy(data.views[name][:9]) for name in ("image", "signal")]
    raws = [views[0].permute(0, 3, 1, 2), views[1]]
    joined_proba = network.eval()(raws).softmax(dim=1)
    proba = torch.stack([part(raw).softmax(dim=1) for part, raw in zip(network.parts, raws, strict=True)])
    geometric = proba.log().mean(dim=0).softmax(dim=1)
    assert (proba[0] - proba[1]).abs().max() > 0.1
    torch.testing.assert_close(joined_proba, geometric)


def test_new_rows_get_the_stored_scores_of_the_test_rows(trained, data, plan):
    _, test = collect(trained, MEMBERS, data.labels, plan)
    views = {name: array[plan.test_rows] for name, array in data.views.items()}
    said = predict_members(trained, MEMBERS, views, data.labels.classes)
    np.testing.assert_allclose(said.proba_KNMC, test.proba_KNMC, atol=1e-6)
    with pytest.raises(MemberError, match=r"views \['signal'\], got \['image'\]"):
        predict_members(trained, MEMBERS, {"image": views["image"]}, data.labels.classes)
    with pytest.raises(MemberError, match=r"member \w+: the view 'image' wants rows of shape \(16, 16, 1\), got \(8"):
        predict_members(trained, MEMBERS, views | {"image": views["image"][:, :8]}, data.labels.classes)


@pytest.fixture
def backbones(trained, tmp_path):
    """A folder with the trained members that are joined, and nothing joined."""
    for name in BOTH.members:
        (tmp_path / name).symlink_to(trained / name)
    return tmp_path


TUNED = replace(
    BOTH,
    backbone_rate=0.1,
    recipe=replace(
        BOTH.recipe,
        epochs=1,
        ema=0.9,
        early_stopping=EarlyStopping(share=0.2),
        second_stage=SecondStage(min_votes=2, epochs=2, lr=1e-3, thaws=True),
    ),
)


@pytest.mark.usefixtures("every_epoch_saved")
def test_a_joined_training_interrupted_after_every_epoch_ends_with_the_same_bytes(backbones, data, plan, trained):
    members = [TUNED, PICTURE, SIGNAL]
    train_members(members, data, plan, backbones, folds=(1,), work=one_worker())
    path = backbones / "both/fold-1/weights.safetensors"
    unbroken = path.read_bytes()
    (backbones / "both").rename(backbones / "before")

    stops = interruptions(
        "both", lambda stop: train_members(members, data, plan, backbones, folds=(1,), work=one_worker(stop))
    )
    assert stops == 3
    assert path.read_bytes() == unbroken


def test_a_backbone_rate_moves_the_joined_weights_once_they_thaw(backbones, data, plan, trained):
    """Two epochs without a split: the first trains the head alone, the second everything."""
    stage = SecondStage(min_votes=1, epochs=1, lr=1e-3, thaws=True)
    tuned = replace(TUNED, recipe=Recipe(epochs=1, batch_size=16, second_stage=stage))
    seen = []

    def look(progress):
        if is_epoch(progress, "both"):
            last = sorted((backbones / "both/fold-0").glob("checkpoint-*"))[-1]
            seen.append(load_file(last)["network.parts.0.body.conv_stem.weight"])

    train_members([tuned, PICTURE, SIGNAL], data, plan, backbones, folds=(0,), work=one_worker(look))
    start = read_weights(trained, "picture", 0)["body.conv_stem.weight"]
    assert np.array_equal(seen[0], start)
    assert not np.array_equal(seen[1], start)


def test_a_changed_part_is_refused_by_name_and_force_redoes_what_depends_on_it(backbones, data, plan):
    brief = replace(BOTH, recipe=replace(BOTH.recipe, epochs=1))
    train_members([brief, PICTURE, SIGNAL], data, plan, backbones, folds=(0,), work=one_worker())
    place = backbones / "both/fold-0"
    other = replace(PICTURE, recipe=replace(RECIPE, epochs=1))
    (backbones / "picture").unlink()
    with pytest.raises(ExperimentError, match=r"both.*part.picture.recipe.epochs was 4, is 1"):
        train_members([brief, other, SIGNAL], data, plan, backbones, folds=(0,), work=one_worker())
    assert not (backbones / "picture").exists()
    before = (place / "weights.safetensors").read_bytes()
    with pytest.warns(FoldstillWarning, match=r"made again, as --force says: both/fold-0$"):
        train_members([brief, other, SIGNAL], data, plan, backbones, folds=(0,), work=one_worker(force=True))
    assert (place / "weights.safetensors").read_bytes() != before
    ends = train_members([brief, other, SIGNAL], data, plan, backbones, folds=(0,), work=one_worker())
    assert [end.held_out_kl is not None for end in ends] == [True] * 3


def test_without_two_folds_it_starts_from_its_members_without_those_two(data, tmp_path):
    three = make_plan(data.labels, n_folds=3, strategy="grouped")
    brief = Recipe(epochs=1, batch_size=16)
    members = [replace(m, recipe=brief) for m in MEMBERS]
    train_members(members, data, three, tmp_path, pairs=True, folds=(0, 2), work=one_worker())
    joined = load_file(tmp_path / "both/pair-0-2/weights.safetensors")
    own = load_file(tmp_path / "picture/pair-0-2/weights.safetensors")
    key = "body.conv_stem.weight"
    assert np.array_equal(joined[f"parts.0.{key}"], own[key])


def test_names_that_cannot_be_joined_are_told():
    with pytest.raises(MemberError, match=r"'both' joins 'sound', which is none of \['both', 'picture'\]"):
        resolve([replace(BOTH, members=("picture", "sound")), PICTURE])
    again = JoinedMember("again", ("both", "signal"))
    with pytest.raises(MemberError, match="'again' joins 'both', which is a joined member itself"):
        resolve([again, *MEMBERS])
    with pytest.raises(MemberError, match="which is a joined member itself"):
        resolve([again, *resolve(MEMBERS)])
    assert resolve(resolve(MEMBERS)) == resolve(MEMBERS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"members": ("picture",)}, "two different members"),
        ({"members": ("picture", "picture")}, "two different members"),
        ({"backbone_rate": -1.0}, "backbone_rate"),
        ({"hidden": -1}, "hidden"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"recipe": Recipe(second_stage=SecondStage(thaws=True))}, "backbone_rate = 0 leaves them"),
        (
            {"recipe": Recipe(augment=(Mixup(), ChannelDropout()))},
            r"got \['channel_dropout'\]: .*set augment = \[\] here",
        ),
    ],
)
def test_settings_that_join_nothing_are_refused(change, said):
    with pytest.raises(MemberError, match=said):
        replace(BOTH, **change)


def test_a_joined_member_alone_needs_trained_parts_of_the_same_settings(data, plan, backbones, tmp_path):
    brief = replace(BOTH, recipe=replace(BOTH.recipe, epochs=1))
    joined = resolve([brief, PICTURE, SIGNAL])[:1]
    with pytest.raises(MemberError, match="member both, fold 0 joins 'picture', which is not trained"):
        train_members(joined, data, plan, tmp_path / "elsewhere", work=one_worker())
    other = resolve([brief, replace(PICTURE, drop_rate=0.5), SIGNAL])[:1]
    with pytest.raises(ExperimentError, match=r"picture.*member.drop_rate was 0.0, is 0.5"):
        train_members(other, data, plan, backbones, work=one_worker())
    [end] = train_members(joined, data, plan, backbones, folds=(1,), work=one_worker())
    assert end.held_out_kl is not None


@pytest.mark.parametrize("temperature", ["none", "row", "class"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_every_head_gives_finite_logits_of_parts_with_any_head(temperature, hidden, data):
    parts = [replace(PICTURE, temperature="class", drop_rate=0.2), SIGNAL]
    (joined,) = resolve([replace(BOTH, temperature=temperature, hidden=hidden), *parts])[:1]
    network = joined.build([(16, 16, 1), (3, 64)], 4).eval()
    logits = network((torch.zeros(2, 1, 16, 16), torch.zeros(2, 3, 64)))
    assert logits.shape == (2, 4)
    assert torch.isfinite(logits).all()


def test_with_frozen_parts_nothing_of_them_moves_not_even_running_statistics(data):
    (joined,) = resolve(MEMBERS)[:1]
    torch.manual_seed(0)
    network = joined.build([(16, 16, 1), (3, 64)], 4)
    network.parts[0].input.mean.fill_(100.0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    training_set = TrainingSet.from_labels(data.labels, data.views, np.arange(N))
    phase = Phase(Recipe(epochs=1, batch_size=16, weight_decay=0.5, ema=0.5), np.arange(N))
    fit_network(network, training_set, phase, FitContext(seed=0), [(), ()])
    moved = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"norms", "between", "head"}


def test_its_cost_counts_the_networks_it_joins():
    from foldstill.cost.measure import measure_cost

    members = [BOTH, PICTURE, SIGNAL]
    shapes = {"image": (16, 16, 1), "signal": (3, 64)}
    rows = {"image": torch.zeros(1, 1, 16, 16), "signal": torch.zeros(1, 3, 64)}
    costs = []
    for member in resolve(members):
        network = member.build([shapes[view] for view in member.views], 4)
        views = tuple(rows[view] for view in member.views)
        costs.append(measure_cost(network, views if member.parts else views[0], batch=2, repeats=2))
    joined, *parts = costs
    head = 16 * (256 + 16) + 16 * 4
    assert joined.macs == sum(cost.macs for cost in parts) + head
    assert joined.latency_batch_ms > 0


def test_teachers_on_augmented_views_refuse_joined_members(trained, data, plan):
    from foldstill.distill import TeacherOnly
    from foldstill.distill.targets import average_teacher
    from foldstill.distill.view_teachers import view_teachers

    table, _ = collect(trained, MEMBERS, data.labels, plan)
    with pytest.raises(DistillError, match=r"members \['both'\] read several views at once.*set views = \"identity\""):
        view_teachers(
            [FoldModels(member, trained) for member in resolve(MEMBERS)], data, plan, table, average_teacher(table),
            TeacherOnly(), view="image",
        )  # fmt: skip


FILE = """
name = "joined"
[data]
kind = "npz"
path = "data.npz"
images = "image"
signals = "signal"
votes = "votes"
group = "group"
[folds]
n_folds = 2
[recipe]
epochs = 1
batch_size = 16
[stacking]
combiner = [{ kind = "average" }, { kind = "log_pool" }]
[[member]]
name = "picture"
network = "test_efficientnet"
view = "image"
"""
FILE += eeg_table("signal", widths=[8, 8], features=16)
FILE += member_table(name="both", kind="joined", members=["picture", "signal"])


def test_a_file_says_what_is_wrong_with_a_joined_member():
    from foldstill.pipeline.experiment_file import parse_experiment

    assert parse_experiment(FILE, "file").member[2] == JoinedMember(
        "both", ("picture", "signal"), recipe=Recipe(epochs=1, batch_size=16)
    )
    with pytest.raises(ExperimentError, match="'both' joins 'sound', which is none of"):
        parse_experiment(FILE.replace('["picture", "signal"]', '["picture", "sound"]'), "file")
    with pytest.raises(ExperimentError, match=r"view \(member 'both'\): no such key"):
        parse_experiment(FILE + 'view = "image"', "file")


def test_a_run_with_a_joined_member_predicts_new_rows_with_every_arm_and_tells_its_cost(data, tmp_path):
    from foldstill.commands.predict import predict_inputs
    from foldstill.compare import Comparison
    from foldstill.oof import read_scores
    from foldstill.pipeline import ExperimentFile, run_all, start_run

    groups = data.labels.groups.astype(str)
    np.savez(tmp_path / "data.npz", **data.views, votes=data.labels.votes_NC, group=groups)
    run_all(start_run(ExperimentFile(FILE, tmp_path, "file"), tmp_path / "run", Work(1, "cpu")))
    comparison = Comparison.read(tmp_path / "run")
    cost = {arm.name: arm.cost.macs for arm in comparison.arms if arm.cost}
    assert cost["both"] > cost["picture"] + cost["signal"] - 1000
    test = read_scores(tmp_path / "run/test.parquet").mean()
    rows = [int(i) for i in test.ids]
    np.savez(tmp_path / "new.npz", **{name: array[rows] for name, array in data.views.items()})
    said = predict_inputs(
        tmp_path / "run", tmp_path / "new.npz", tmp_path / "out.csv", arm="both", work=Work(device="cpu")
    ).scores
    np.testing.assert_allclose(said.proba_NMC[:, 0], test.proba_NMC[:, test.members.index("both")], atol=1e-6)
    said = predict_inputs(tmp_path / "run", tmp_path / "new.npz", tmp_path / "average.csv", arm="average").scores
    np.testing.assert_allclose(said.proba_NMC[:, 0], test.proba_NMC.mean(axis=1), atol=1e-6)


def test_a_joined_member_is_not_tuned_but_its_members_are(tmp_path):
    from foldstill.commands.tune import Tuning, check_search
    from foldstill.pipeline.experiment_file import parse_experiment

    for member, fine in (("signal", True), ("both", False)):
        text = (
            FILE
            + f"""
[tune]
member = "{member}"
search = [{{ kind = "float", field = "member.{member}.drop_rate", low = 0.0, high = 0.5 }}]
"""
        )
        base = parse_experiment(text, "file")
        tuning = Tuning(text, "file", tmp_path, tmp_path, "cpu")
        if fine:
            check_search(tuning, base, base.tune)
        else:
            with pytest.raises(ExperimentError, match=r"'both' joins trained members.*tune a member that it joins"):
                check_search(tuning, base, base.tune)
