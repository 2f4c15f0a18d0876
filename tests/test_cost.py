import pytest
import torch
from torch import nn

from foldstill.cost import Cost, total_cost
from foldstill.cost.measure import count_macs, measure_cost, measure_latency
from foldstill.errors import CostError
from foldstill.machine import processor


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5))


def test_multiply_accumulates_are_those_counted_by_hand():
    assert count_macs(tiny(), torch.zeros(1, 3, 8, 8)) == 16 * 8 * 27 + 128 * 5


def test_depthwise_convolutions_are_counted_by_their_groups():
    network = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    assert count_macs(network, torch.zeros(1, 8, 4, 4)) == 16 * 8 * 9


def test_cost_counts_parameters_and_bytes_and_leaves_the_process_as_it_was():
    network = tiny().train()
    before = torch.get_num_threads()
    cost = measure_cost(network, torch.zeros(1, 3, 8, 8), batch=4, threads=2, repeats=2)
    assert cost.parameters == 8 * 27 + 128 * 5 + 5
    assert cost.bytes == 4 * cost.parameters
    assert cost.batch == 4
    assert 0 < cost.latency_1_ms <= cost.latency_1_p95_ms
    assert 0 < cost.latency_batch_ms <= cost.latency_batch_p95_ms
    assert (cost.threads, cost.processor) == (2, processor())
    assert torch.get_num_threads() == before
    assert network.training


def test_cost_is_counted_for_one_row():
    with pytest.raises(CostError, match="one row"):
        measure_cost(tiny(), torch.zeros(2, 3, 8, 8))


def test_latency_is_timed_over_the_requested_calls_after_warm_up_and_names_the_machine():
    calls = []
    latency = measure_latency("eager", lambda: calls.append(0), 1, threads=1, repeats=5)
    assert len(calls) == 8
    assert 0 <= latency.p50_ms <= latency.p95_ms
    assert latency.processor == processor() != ""
    with pytest.raises(CostError, match="2 repeats or more"):
        measure_latency("eager", lambda: None, 1, threads=1, repeats=1)


def test_the_cost_of_an_ensemble_is_the_sum_over_its_models():
    one = Cost(
        parameters=10, macs=100, latency_1_ms=1.5, latency_batch_ms=4.0, batch=32, bytes=40, activation_bytes=8,
        threads=1, processor="here", latency_1_p95_ms=2.0,
    )  # fmt: skip
    # One after the other: time adds up, and what one computes is freed before the next begins.
    assert total_cost([one] * 15) == Cost(
        parameters=150, macs=1500, latency_1_ms=22.5, latency_batch_ms=60.0, batch=32, bytes=600, activation_bytes=8,
        threads=1, processor="here",
    )  # fmt: skip
    partly = total_cost([one, Cost(parameters=1, batch=16, latency_batch_ms=1.0)])
    assert partly == Cost(parameters=11)
    assert total_cost([]) == Cost()
