"""Reading `.npz` files of which nothing is trusted; tests/test_checkpoint.py has bombs of every other kind."""

import copy
import zipfile

import numpy as np
import pytest

from charrnn.system.npz import Npz, PickledError


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_they_were_saved(tmp_path, save):
    arrays = {"b/c": np.arange(6.0).reshape(2, 3), "a": np.array("text"), "f": np.asfortranarray(np.ones((300, 400)))}
    save(tmp_path / "file.npz", **arrays)
    with open(tmp_path / "file.npz", "rb") as file:
        npz = Npz(file)
        assert list(npz.names) == ["b/c", "a", "f"]
        for name, array in arrays.items():
            assert npz.header(name) == (array.shape, array.dtype)
            assert np.array_equal(npz.read(name), array)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.array([{}], dtype=object))
    with open(tmp_path / "file.npz", "rb") as file:
        for read in (Npz(file).header, Npz(file).read):
            with pytest.raises(PickledError):
                read("a")


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("a.npy", bytes(5000))
        for name in ("b.npy", "c.npy"):
            again = copy.copy(archive.getinfo("a.npy"))
            again.filename = name
            archive.filelist.append(again)
    with open(tmp_path / "file.npz", "rb") as file, pytest.raises(ValueError, match="longer than the file"):
        Npz(file)
