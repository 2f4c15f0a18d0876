"""Digests are kept in files: they must not depend on how an array lies in memory, nor change between versions."""

import hashlib
import json

import numpy as np
import pytest

from foldstill.digests import digest


@pytest.mark.parametrize("shape", [(600, 3), (3, 600), (0, 3), (600,)])
def test_the_digest_of_numbers_is_that_of_their_rows_however_they_lie_in_memory(rng, shape):
    values = rng.standard_normal(shape)
    sha = hashlib.sha256(f"<f8{shape}".encode() + values.tobytes() + b"\x00").hexdigest()[:16]
    assert digest(values) == digest(np.asfortranarray(values)) == digest(np.repeat(values, 2, axis=0)[::2]) == sha


@pytest.mark.parametrize("shape", [(600,), (300, 2), (0,), ()])
def test_the_digest_of_texts_is_that_of_a_list_in_json(shape):
    texts = np.asarray([f"café {i}" for i in range(600)])[: int(np.prod(shape))].reshape(shape)
    sha = hashlib.sha256(json.dumps(texts.tolist()).encode() + b"\x00").hexdigest()[:16]
    assert digest(texts) == digest(texts.astype("U99")) == sha
