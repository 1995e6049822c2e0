"""Values as a head and buffers: what comes out is what went in, little is copied, and nobody can spoil it."""

from __future__ import annotations

import math
import pickle
import sys
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lightning.app.errors import PickleError, StorageError
from lightning.app.storage.payloads.layout import laid_out, opened, size_of
from lightning.app.storage.payloads.pickling import PIECE, parts, whole


def travelled(value: Any, *, own: bool = False) -> Any:
    """What comes out at the other end."""
    taken = parts(value)
    data = bytearray(b"".join(laid_out(taken)))
    assert len(data) == size_of(taken)
    return whole(*opened(memoryview(data), "here", own=own))


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


@dataclass
class Point:
    x: float
    y: float


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=100)
PLAIN = st.recursive(
    ATOMS | st.builds(Point, st.floats(), st.floats()) | st.binary(min_size=70_000, max_size=70_100),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.builds(bytearray, st.binary())
    ),
    max_leaves=20,
)
DTYPES = (
    npst.scalar_dtypes()
    | npst.array_dtypes()
    | npst.byte_string_dtypes()
    | npst.unicode_string_dtypes()
    | npst.datetime64_dtypes()
)


@given(PLAIN)
def test_plain_objects_come_out_as_they_went_in(value: Any) -> None:
    assert pickle.dumps(travelled(value)) == pickle.dumps(pickle.loads(pickle.dumps(value)))


@given(st.data(), DTYPES, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8))
def test_arrays_of_every_kind_and_order_come_out_as_they_went_in(
    data: st.DataObject, dtype: Any, shape: tuple[int, ...]
) -> None:
    array = data.draw(npst.arrays(dtype, shape))
    if data.draw(st.booleans()):
        array = array.transpose(data.draw(st.permutations(range(array.ndim))))
    if array.ndim:
        array = np.asarray(array[data.draw(npst.basic_indices(array.shape))])
    found = travelled([array])[0]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10),
        np.arange(100_000.0),
        np.asfortranarray(np.ones((300, 200))),
        np.ones((300, 200))[::2, ::3],
        np.arange(5000).astype("datetime64[s]"),
        np.zeros(100, dtype=[("a", ">i4"), ("b", "S3")]),
        np.array(5),
    ],
    ids=["small", "large", "by columns", "with gaps", "dates", "records", "a single number"],
)
def test_an_array_can_only_be_read(array: Any) -> None:
    found = travelled({"deep": [array]})["deep"][0]
    with pytest.raises(ValueError, match="read-only"):
        found[...] = found
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.flags.writeable = True


def test_arrays_that_are_the_callers_own_can_be_written_to() -> None:
    for array in (np.arange(10), np.arange(100_000.0), np.arange(5000).astype("datetime64[s]")):
        found = travelled([array, array.copy()], own=True)
        found[0][0] = found[0][1]
        assert found[1][0] == array[0]


def test_neither_an_array_nor_its_bytes_are_copied_on_the_way() -> None:
    for array in (
        np.arange(100_000.0),
        np.asfortranarray(np.ones((300, 200))),
        np.zeros(9999, dtype="M8[ns]"),
    ):
        taken = parts({"array": array})
        (piece,) = taken.buffers[0].pieces()
        assert address(np.frombuffer(piece, np.uint8)) == address(array)
        data = np.frombuffer(bytearray(b"".join(laid_out(taken))), np.uint8)
        found = whole(*opened(memoryview(data), "here"))["array"]
        assert address(data) <= address(found) < address(data) + data.nbytes
        assert (address(found) - address(data)) % 64 == 0


def test_bytes_within_a_value_are_not_copied_into_the_head() -> None:
    large = bytes(1 << 20)
    taken = parts({"name": "x", "data": [large]})
    assert any(piece.obj is large for piece in taken.head)
    assert travelled({"data": [large]}) == {"data": [large]}


def test_an_array_with_gaps_is_put_together_a_little_at_a_time() -> None:
    array = np.arange(4 * PIECE // 8).reshape(64, -1).T
    sliced = array[:, ::2]
    pieces = [piece.nbytes for piece in parts(sliced).buffers[0].pieces()]
    assert sum(pieces) == sliced.nbytes
    assert max(pieces) <= PIECE
    assert (travelled(sliced) == sliced).all()


def test_the_same_array_twice_is_the_same_array_at_the_other_end() -> None:
    array = np.arange(1000.0)
    taken = parts([array, array])
    assert len(taken.buffers) == 1
    one, other = travelled([array, array])
    assert one is other


def test_a_view_of_memory_stays_one() -> None:
    for view in (
        memoryview(b"abc"),
        memoryview(np.arange(6.0).reshape(2, 3)),
        memoryview(b""),
        memoryview(bytearray(range(9)))[::2],
    ):
        found = travelled(view)
        assert (found.format, found.shape, found.tolist()) == (view.format, view.shape, view.tolist())
        assert found.readonly


def test_arrays_of_objects_travel_too() -> None:
    found = travelled(np.array([1, "two", None], dtype=object))
    assert found.tolist() == [1, "two", None]


def test_functions_and_classes_that_no_module_has_travel_too() -> None:
    class Local:
        def __init__(self) -> None:
            self.array = np.arange(5000.0)

    found = travelled([lambda: 4, Local()])
    assert found[0]() == 4
    assert not found[1].array.flags.writeable


def test_what_cannot_be_pickled_is_named() -> None:
    for value, name in ((threading.Lock(), "lock"), ((n for n in ()), "generator"), ([sys.stdout], "list")):
        with pytest.raises(PickleError, match=rf"a {name} cannot be put into a Payload: .*cannot"):
            parts(value)


def test_the_head_says_in_time_that_it_is_not_whole() -> None:
    data = b"".join(laid_out(parts([np.arange(5000.0), "text"])))
    for cut in (0, 3, 20, 50, len(data) - 1):
        with pytest.raises(StorageError, match="here: it"):
            opened(memoryview(data[:cut]), "here")


# -- libraries ------------------------------------------------------------------------------------


def test_frames_travel_without_a_copy_of_their_numbers() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(
        {
            "number": np.arange(50_000.0),
            "word": ["some", "text"] * 25_000,
            "day": pandas.date_range("2020-01-01", periods=50_000, freq="min"),
            "kind": pandas.Categorical(["a", "b"] * 25_000),
        }
    )
    taken = parts(frame)
    assert sum(piece.nbytes for piece in taken.head) < 500_000
    found = travelled(frame)
    pandas.testing.assert_frame_equal(found, frame)
    assert not found["number"].to_numpy().flags.writeable
    assert found["number"].sum() == frame["number"].sum()


def test_tables_of_arrow_travel_without_a_copy() -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = arrow.table({"n": np.arange(50_000), "word": ["some", None] * 25_000})
    taken = parts(table)
    assert sum(piece.nbytes for piece in taken.head) < 10_000
    data = np.frombuffer(bytearray(b"".join(laid_out(taken))), np.uint8)
    found = whole(*opened(memoryview(data), "here"))
    assert found.equals(table)
    place = found["n"].chunk(0).buffers()[1].address
    assert address(data) <= place < address(data) + data.nbytes


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def test_tensors_of_every_kind_come_out_as_they_went_in(torch: Any) -> None:
    kinds = (
        "float64 float32 float16 bfloat16 complex64 int64 int32 int16 int8 uint8 bool float8_e4m3fn uint16"
    )
    for kind in kinds.split():
        tensor = torch.arange(6, dtype=torch.float32).to(getattr(torch, kind)).reshape(2, 3).t()
        found = travelled([tensor])[0]
        assert (found.dtype, found.shape, found.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
        assert found.contiguous().view(torch.uint8).tolist() == tensor.contiguous().view(torch.uint8).tolist()
    for tensor in (torch.empty(0), torch.tensor(3.0), torch.eye(4).to_sparse().coalesce()):
        assert torch.equal(travelled(tensor).to_dense(), tensor.to_dense())


def test_a_tensor_is_not_copied_on_the_way(torch: Any) -> None:
    tensor = torch.arange(100_000.0)
    taken = parts([tensor])
    assert sum(piece.nbytes for piece in taken.head) < 1000
    (piece,) = taken.buffers[0].pieces()
    assert address(np.frombuffer(piece, np.uint8)) == tensor.data_ptr()
    data = np.frombuffer(bytearray(b"".join(laid_out(taken))), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = whole(*opened(memoryview(data), "here"))
    assert address(data) < found.data_ptr() < address(data) + data.nbytes
    assert torch.equal(found, tensor)


def test_tensors_that_share_memory_still_do(torch: Any) -> None:
    weights = torch.nn.Parameter(torch.ones(100, 100))
    model = torch.nn.Sequential(torch.nn.Linear(100, 100), torch.nn.Linear(100, 100))
    model[1].weight = model[0].weight
    base = torch.arange(10_000.0)
    value = {"model": model, "weights": weights, "base": base, "row": base[10:20], "flat": weights.data}
    assert len(parts(value).buffers) == 5  # base, weights, one weight and two biases of the model
    found = travelled(value)
    assert found["model"][0].weight is found["model"][1].weight
    assert isinstance(found["weights"], torch.nn.Parameter)
    found["row"][0] = -1
    assert found["base"][10] == -1
    assert found["flat"].data_ptr() == found["weights"].data_ptr()


def test_a_model_still_learns_at_the_other_end(torch: Any) -> None:
    model = travelled(torch.nn.Linear(3, 1))
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)


def test_an_array_beside_a_tensor_can_only_be_read(torch: Any) -> None:
    found = travelled({"array": np.arange(5.0), "tensor": torch.arange(5.0)})
    assert not found["array"].flags.writeable
    found["tensor"][0] = math.pi
