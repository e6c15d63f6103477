from __future__ import annotations

import csv
import multiprocessing
import shutil
from pathlib import Path

import h5py
import numpy as np
import PIL.Image
import pytest

import vesalius.datasets.ingest as module
from tests.crashing import write_part_or_die
from tests.films import film, ramp, save
from vesalius.datasets.identity import PatientKey
from vesalius.datasets.ingest import IngestOptions, ingest
from vesalius.datasets.manifest import write_manifest
from vesalius.datasets.store import MANIFEST_FILE, Store
from vesalius.dicom.read import read
from vesalius.dicom.resample import dequantise, standardise
from vesalius.errors import EmptyInput, LabelsError, StoreError

KEY = PatientKey(bytes(range(32)))
SIZE = 32


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(KEY.secret)
    return path


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Ten films of five patients; 0 to 4 DICOM of one patient each, 5 to 9 PNG, in two folders."""
    folder = tmp_path / "films"
    (folder / "png").mkdir(parents=True)
    for number in range(5):
        save(
            film(ramp(40 + number, 64, seed=number), PatientID=f"P{number}", ImagerPixelSpacing=[0.2, 0.2]), folder, f"{number}.dcm"
        )
    for number in range(5, 10):
        PIL.Image.fromarray(ramp(48, 30, bits=8, seed=number)).save(folder / "png" / f"{number}.png")
    return folder


def options(key_file: Path, **changes: object) -> IngestOptions:
    return IngestOptions(**{"size_px": SIZE, "workers": 2, "patient_key": key_file, **changes})  # type: ignore[arg-type]


def write_labels(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_store_holds_what_read_and_standardise_give(films: Path, key_file: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = ingest([films], tmp_path / "store", options(key_file, site="Ward A"), lambda done, total: seen.append((done, total)))
    store = Store(tmp_path / "store")
    assert (report.n_films, report.n_done, report.n_rejected, report.n_skipped) == (10, 10, 0, 0)
    assert [path.split("/")[-1] for path in store.manifest["path"]] == [f"{n}.dcm" for n in range(5)] + [
        f"{n}.png" for n in range(5, 10)
    ]
    for row, path in enumerate(store.manifest["path"]):
        image = read(films / path)
        np.testing.assert_array_equal(store.pixels([row])[0], dequantise(standardise(image, SIZE), image.bits_stored))
        assert store.manifest["image_id"][row] == image.image_id
        assert store.manifest["bits_stored"][row] == image.bits_stored
    first, last = store.manifest.iloc[0], store.manifest.iloc[9]
    assert first["patient_id"] == KEY.hash("patient", "P0")
    assert (first["sex"], first["age_years"], first["modality"], first["manufacturer"]) == ("F", 61.0, "DX", "Maker")
    assert (first["rows"], first["columns"], first["spacing_mm_row"], first["view_position"]) == (40, 64, 0.2, "PA")
    assert (last["rows"], last["columns"], last["sex"], last["study_id"]) == (48, 30, None, None)
    assert set(store.manifest["site"]) == {"Ward A"}
    assert store.manifest["split"].notna().all()
    assert seen[-1] == (10, 10)
    assert sorted(seen) == seen
    assert sorted(path.name for path in store.path.iterdir()) == [".lock", "images.h5", "manifest.parquet", "rejects.csv"]


def test_bad_files_are_refused_with_a_reason_and_the_rest_goes_on(films: Path, key_file: Path, tmp_path: Path) -> None:
    (films / "broken.dcm").write_bytes((films / "0.dcm").read_bytes()[:-1000])
    (films / "text.dcm").write_text("not DICOM")
    (films / "empty.png").write_bytes(b"")
    shutil.copy(films / "1.dcm", films / "png" / "again.dcm")
    (films / "notes.txt").write_text("no film")
    report = ingest([films], tmp_path / "store", options(key_file))
    assert (report.n_films, report.n_done, report.n_rejected, report.n_ignored) == (14, 10, 4, 1)
    with (tmp_path / "store" / "rejects.csv").open() as file:
        rejects = {row["path"]: row for row in csv.DictReader(file)}
    assert {path: row["code"] for path, row in rejects.items()} == {
        "broken.dcm": rejects["broken.dcm"]["code"],
        "text.dcm": "not_an_image",
        "empty.png": "truncated",
        "png/again.dcm": "duplicate_image",
    }
    assert rejects["broken.dcm"]["code"] in {"truncated", "wrong_pixel_length"}
    assert Store(tmp_path / "store").manifest["image_id"][1] in rejects["png/again.dcm"]["message"]
    assert report.reject_codes["duplicate_image"] == 1


def test_nothing_but_bad_files_leaves_an_empty_store_and_no_file_is_an_error(tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyInput):
        ingest([tmp_path / "in"], tmp_path / "store", options(key_file))
    (tmp_path / "in" / "text.dcm").write_text("not DICOM")
    report = ingest([tmp_path / "in"], tmp_path / "store", options(key_file))
    assert (report.n_done, report.n_rejected, report.n_images) == (0, 1, 0)
    assert Store(tmp_path / "store").pixels([]).shape == (0, SIZE, SIZE)


def test_workers_do_not_show_in_the_store(films: Path, key_file: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        ingest([films], tmp_path / f"store{workers}", options(key_file, workers=workers))
    for name in ("manifest.parquet", "images.h5", "rejects.csv"):
        assert (tmp_path / "store1" / name).read_bytes() == (tmp_path / "store2" / name).read_bytes()


def test_labels_are_joined_by_file_and_win_over_the_header(films: Path, key_file: Path, tmp_path: Path) -> None:
    labels = write_labels(
        tmp_path / "labels.csv",
        "file,patient_id,site,sex,age_years,view_position,report,Nodule,Mass",
        "0.dcm,P9,B,M,95,AP,nodule seen,1,",
        "png/9.png,P9,B,,,,,-1,0",
        "5.png,,A,O,,,,0,0",
        "gone.dcm,,,,,,,1,1",
    )
    report = ingest([films], tmp_path / "store", options(key_file, labels=labels, site="C"))
    manifest = Store(tmp_path / "store").manifest.set_index("path")
    np.testing.assert_array_equal(
        Store(tmp_path / "store").labels()[[0, 5, 9, 1]], [[1, np.nan], [0, 0], [-1, 0], [np.nan, np.nan]]
    )
    first = manifest.loc["0.dcm"]
    assert (first["sex"], first["age_years"], first["view_position"], first["report"]) == ("M", 90.0, "AP", "nodule seen")
    assert first["patient_id"] == manifest.loc["png/9.png", "patient_id"] == KEY.hash("patient", "P9")
    assert manifest.loc["1.dcm", "patient_id"] == KEY.hash("patient", "P1")
    assert manifest["site"].tolist() == ["B", "C", "C", "C", "C", "A", "C", "C", "C", "B"]
    assert (report.n_without_labels, report.n_lines_without_film) == (7, 1)
    assert report.findings == {"Nodule": (1, 1, 1), "Mass": (0, 2, 0)}
    assert any("4 films name no patient" in warning for warning in report.warnings)


@pytest.mark.parametrize("column", ["sop_instance_uid", "study_instance_uid"])
def test_labels_are_joined_by_uid(column: str, tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "in").mkdir()
    datasets = [film(ramp(seed=number)) for number in range(3)]
    datasets[2].StudyInstanceUID = datasets[1].StudyInstanceUID
    for number, dataset in enumerate(datasets):
        save(dataset, tmp_path / "in", f"{number}.dcm")
    uid = datasets[1].SOPInstanceUID if column == "sop_instance_uid" else datasets[1].StudyInstanceUID
    labels = write_labels(tmp_path / "labels.csv", f"{column},site,Nodule", f"{uid},B,1", "1.2.3,B,0")
    report = ingest([tmp_path / "in"], tmp_path / "store", options(key_file, labels=labels))
    store = Store(tmp_path / "store")
    of_study = column == "study_instance_uid"
    np.testing.assert_array_equal(store.labels(), [[np.nan], [1], [1 if of_study else np.nan]])
    assert store.manifest["site"].tolist() == ["local", "B", "B" if of_study else "local"]
    assert (report.n_without_labels, report.n_lines_without_film) == (1 if of_study else 2, 1)
    assert ingest([tmp_path / "in"], tmp_path / "store", options(key_file, labels=labels)).n_skipped == 3


@pytest.mark.parametrize("header", ["file", "sop_instance_uid"])
def test_labels_of_other_films_are_an_error_and_reading_is_not_lost(
    header: str, films: Path, key_file: Path, tmp_path: Path
) -> None:
    labels = write_labels(tmp_path / "labels.csv", f"{header},Nodule", "elsewhere,1")
    with pytest.raises(LabelsError, match="no line of the labels CSV fits any of the 10 films"):
        ingest([films], tmp_path / "store", options(key_file, labels=labels))
    assert not (tmp_path / "store" / MANIFEST_FILE).exists()
    assert len(list((tmp_path / "store").glob(".parts/*.h5"))) == (0 if header == "file" else 2)
    write_labels(labels, "file,Nodule", "0.dcm,1")
    assert ingest([films], tmp_path / "store", options(key_file, labels=labels)).n_done == 10


def test_the_splits_of_the_labels_are_kept_and_may_not_tear_a_patient(films: Path, key_file: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", "file,patient_id,split", "0.dcm,P,test", "5.png,P,", "1.dcm,,validation")
    ingest([films], tmp_path / "store", options(key_file, labels=labels))
    splits = Store(tmp_path / "store").manifest["split"]
    assert splits[[0, 5, 1]].tolist() == ["test", "test", "validation"]
    write_labels(labels, "file,patient_id,split", "0.dcm,P,test", "5.png,P,train")
    with pytest.raises(LabelsError, match="1 patients would be in more than one split"):
        ingest([films], tmp_path / "other", options(key_file, labels=labels))


def test_a_second_site_is_added_and_nothing_is_taken_twice(films: Path, key_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    (tmp_path / "more").mkdir()
    for number in range(20, 23):
        save(film(ramp(seed=number), PatientID="P0" if number == 20 else f"Q{number}"), tmp_path / "more", f"{number - 20}.dcm")
    first_labels = write_labels(tmp_path / "first.csv", "file,Nodule", "0.dcm,1")
    more_labels = write_labels(tmp_path / "more.csv", "file,Mass,Nodule", "1.dcm,1,0")
    ingest([films], out, options(key_file, labels=first_labels))
    before, bytes_before = Store(out), (out / MANIFEST_FILE).read_bytes()
    again = ingest([films], out, options(key_file, labels=first_labels))
    assert (again.n_done, again.n_skipped) == (0, 10)
    assert (out / MANIFEST_FILE).read_bytes() == bytes_before
    pixels = before.pixels(range(10))
    report = ingest([tmp_path / "more"], out, options(key_file, site="B", labels=more_labels))
    after = Store(out)
    assert (report.n_done, report.n_images) == (3, 13)
    np.testing.assert_array_equal(after.pixels(range(10)), pixels)
    assert after.manifest[: len(before)][list(before.manifest.columns)].equals(before.manifest)
    assert after.findings == ("Nodule", "Mass")
    np.testing.assert_array_equal(after.labels()[[0, 11]], [[1, np.nan], [0, 1]])
    of_p0 = after.manifest[after.manifest["patient_id"] == KEY.hash("patient", "P0")]
    assert len(of_p0) == 2
    assert of_p0["split"].nunique() == 1
    assert ingest([tmp_path / "more"], out, options(key_file, site="B", labels=more_labels)).n_skipped == 3


def test_another_film_under_a_name_that_is_taken_is_refused(films: Path, key_file: Path, tmp_path: Path) -> None:
    ingest([films], tmp_path / "store", options(key_file))
    shutil.rmtree(films / "png")
    save(film(ramp(90, 90, seed=99)), films, "0.dcm")
    report = ingest([films], tmp_path / "store", options(key_file))
    assert (report.n_done, report.n_skipped, report.reject_codes) == (0, 4, {"duplicate_path": 1})
    assert ingest([films / "0.dcm"], tmp_path / "store", options(key_file, site="B")).n_done == 1


def test_rejects_are_kept_until_their_film_is_tried_again(films: Path, key_file: Path, tmp_path: Path) -> None:
    (films / "bad.dcm").write_text("bad")
    ingest([films], tmp_path / "store", options(key_file))
    save(film(ramp(seed=50)), tmp_path, "elsewhere.dcm")
    ingest([tmp_path / "elsewhere.dcm"], tmp_path / "store", options(key_file))
    assert "bad.dcm" in (tmp_path / "store" / "rejects.csv").read_text()
    save(film(ramp(seed=51)), films, "bad.dcm")
    assert ingest([films], tmp_path / "store", options(key_file)).n_done == 1
    assert "bad.dcm" not in (tmp_path / "store" / "rejects.csv").read_text()


def test_a_store_is_not_extended_with_other_settings(films: Path, key_file: Path, tmp_path: Path) -> None:
    ingest([films], tmp_path / "store", options(key_file))
    with pytest.raises(StoreError, match="use --size 32"):
        ingest([films], tmp_path / "store", options(key_file, size_px=64))
    (tmp_path / "other").write_bytes(bytes(32))
    with pytest.raises(StoreError, match="another patient key"):
        ingest([films], tmp_path / "store", options(tmp_path / "other"))


def test_an_unfinished_ingest_goes_on_only_as_it_began(
    films: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "take_in", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ingest([films], tmp_path / "store", options(key_file))
    with pytest.raises(StoreError, match="unfinished ingest"):
        ingest([films], tmp_path / "store", options(key_file, size_px=64))
    with pytest.raises(StoreError, match="unfinished ingest"):
        ingest([films / "png"], tmp_path / "store", options(key_file))
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.datasets.pool.open_pool", lambda _: 1 / 0)
        assert ingest([films], tmp_path / "store", options(key_file)).n_done == 10, "all parts were there"


def test_a_kill_between_pixels_and_manifest_leaves_the_old_store(
    films: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    ingest([films / "png"], out, options(key_file))
    before = Store(out).pixels(range(5))
    with monkeypatch.context() as patch:
        patch.setattr("vesalius.datasets.assemble.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ingest([films], out, options(key_file, site="B"))
    np.testing.assert_array_equal(Store(out).pixels(range(5)), before)
    assert len(Store(out)) == 5
    report = ingest([films], out, options(key_file, site="B"))
    assert (report.n_done, report.reject_codes) == (5, {"duplicate_image": 5})
    np.testing.assert_array_equal(Store(out).pixels(range(5)), before)


def test_one_store_one_ingest(films: Path, key_file: Path, tmp_path: Path) -> None:
    with module._locked(tmp_path), pytest.raises(StoreError, match="another `vesalius ingest` is at work"):
        ingest([films], tmp_path, options(key_file))


def test_a_film_that_kills_its_reader_is_refused_and_no_other(
    films: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(films / "3.dcm", films / "3-killer.dcm")
    shutil.move(films / "png" / "8.png", films / "png" / "8-killer.png")
    monkeypatch.setattr("vesalius.datasets.pool.write_part", write_part_or_die)
    report = ingest([films], tmp_path / "store", options(key_file))
    assert (report.n_done, report.reject_codes) == (8, {"decoder_crashed": 2})
    assert "killer" not in "".join(Store(tmp_path / "store").manifest["path"])


def test_masks_known_unknown_and_known_to_be_empty(films: Path, key_file: Path, tmp_path: Path) -> None:
    drawn = np.zeros((48, 30), np.uint8)
    drawn[:24] = 255
    (tmp_path / "masks" / "Nodule").mkdir(parents=True)
    PIL.Image.fromarray(drawn).save(tmp_path / "masks" / "Nodule" / "5.png")
    PIL.Image.fromarray(drawn).save(tmp_path / "masks" / "Nodule" / "0.png")
    labels = write_labels(tmp_path / "l.csv", "file,Nodule", "5.png,1", "6.png,1", "7.png,0", "8.png,-1")
    report = ingest([films], tmp_path / "store", options(key_file, labels=labels, masks=tmp_path / "masks"))
    assert report.reject_codes == {"mask_mismatch": 1}, "0.dcm is 40 x 64"
    store = Store(tmp_path / "store")
    rows = [store.manifest["path"].tolist().index(f"png/{number}.png") for number in range(5, 10)]
    masks, known = store.masks(rows)
    assert store.structures == ("Nodule",)
    assert known[:, 0].tolist() == [True, False, True, False, False]
    np.testing.assert_array_equal(masks[0, 0, :15, 6:26], 1)
    assert masks[0, 0].sum() == pytest.approx(16 * 20, abs=1), "at the edge, the fraction of each pixel"
    assert not masks[1:].any()


def test_masks_of_a_second_ingest_join_those_of_the_first(films: Path, key_file: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "store", np.full((48, 30), 255, np.uint8)
    for name, number in (("Nodule", 5), ("Mass", 6)):
        (tmp_path / name / name).mkdir(parents=True)
        PIL.Image.fromarray(drawn).save(tmp_path / name / name / f"{number}.png")
    ingest([films / "png" / "5.png"], out, options(key_file, masks=tmp_path / "Nodule"))
    ingest([films / "png" / "6.png"], out, options(key_file, masks=tmp_path / "Mass"))
    ingest([films / "png" / "7.png"], out, options(key_file, labels=write_labels(tmp_path / "l.csv", "file,Mass", "7.png,0")))
    masks, known = Store(out).masks([0, 1, 2])
    assert Store(out).structures == ("Nodule", "Mass")
    assert known.tolist() == [[True, False], [False, True], [False, True]]
    assert (masks > 0).any(axis=(2, 3)).tolist() == [[True, False], [False, True], [False, False]]


def test_chexzero_files_are_films(films: Path, key_file: Path, tmp_path: Path) -> None:
    squares = np.stack([ramp(SIZE, SIZE, bits=8, seed=number) for number in range(3)])
    PIL.Image.fromarray(squares[1]).save(films / "same.png")
    values = np.concatenate([squares, np.zeros((1, SIZE, SIZE)), squares[:1] / 255, squares[:1] / 2 + 0.25, squares[:1] * 2.0])
    with h5py.File(tmp_path / "cxr.h5", "w") as file:
        file["cxr"] = values.astype(np.float32)
    report = ingest([tmp_path / "cxr.h5", films / "same.png"], tmp_path / "store", options(key_file))
    store = Store(tmp_path / "store")
    assert store.manifest["path"].tolist() == ["cxr.h5#0", "cxr.h5#1", "cxr.h5#2", "cxr.h5#5"]
    assert store.manifest["bits_stored"].tolist() == [8, 8, 8, 16]
    np.testing.assert_array_equal(store.pixels([0, 1, 2]), (squares / 255).astype(np.float32))
    np.testing.assert_allclose(store.pixels([3])[0], (squares[0] / 2 + 0.25) / 255, atol=1e-5)
    assert report.reject_codes == {"duplicate_image": 1, "unsupported_encoding": 2, "zero_spread": 1}


def test_one_id_for_everybody_is_noticed(tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        save(film(ramp(seed=number), PatientID="ANONYMOUS"), tmp_path / "in", f"{number:02d}.dcm")
    report = ingest([tmp_path / "in"], tmp_path / "store", options(key_file))
    assert any("100% of the films of site local carry one patient id" in warning for warning in report.warnings)


def test_no_patient_in_the_header_makes_a_patient_of_each_study(tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "in").mkdir()
    datasets = [film(ramp(seed=number), PatientID="") for number in range(3)]
    datasets[1].StudyInstanceUID = datasets[0].StudyInstanceUID
    for number, dataset in enumerate(datasets):
        save(dataset, tmp_path / "in", f"{number}.dcm")
    ingest([tmp_path / "in"], tmp_path / "store", options(key_file))
    patients = Store(tmp_path / "store").manifest["patient_id"]
    assert patients[0] == patients[1] != patients[2]


def test_reading_leaves_no_process_behind_but_the_server(films: Path, key_file: Path, tmp_path: Path) -> None:
    ingest([films], tmp_path / "store", options(key_file))
    assert not multiprocessing.active_children()


def test_a_full_disk_is_said(films: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vesalius.datasets.assemble.write_manifest", no_space)
    with pytest.raises(StoreError, match=r"No space left on device.*finished films are kept"):
        ingest([films], tmp_path / "store", options(key_file))
    monkeypatch.setattr("vesalius.datasets.assemble.write_manifest", write_manifest)
    assert ingest([films], tmp_path / "store", options(key_file)).n_done == 10
