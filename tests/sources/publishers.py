"""Small copies of every published layout, made by the tests: real tables and real image files, nobody's data."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipelines.sources.interface import SourceReader, SourceRow
from pipelines.sources.registry import open_source
from schemas.params import parse_params
from schemas.paths import Workspace


def picture(seed: int, kind: str = "PNG", size: int = 24) -> bytes:
    """Return an image file of noise that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """Write a table and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([columns, *rows])
    return path


def write_picture(path: Path, seed: int) -> None:
    """Write an image file in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(seed, {".bmp": "BMP", ".jpg": "JPEG"}.get(path.suffix, "PNG")))


def opened(root: Path, adapter: str, **source: Any) -> SourceReader:
    """Return the source in root/`adapter`, opened."""
    given = {"adapter": adapter, "path": adapter, **source}
    params = parse_params({"sources": {"use": {"s": given}}}, "t")
    return open_source("s", params.sources.use["s"], Workspace(root))


def read_all(root: Path, adapter: str, **source: Any) -> list[SourceRow]:
    """Return every row of the source."""
    reader = opened(root, adapter, **source)
    return list(reader.rows(0, len(reader)))


def codes(rows: Sequence[SourceRow]) -> list[str | None]:
    """Return each row's fault."""
    return [row.fault and row.fault.code for row in rows]


def pad(root: Path) -> None:
    columns = ("patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "img_id")
    write_csv(root / "metadata.csv", columns, [("P1", "1", "47", "FEMALE", "3.0", "ARM", "NEV", "P_1.png")])
    write_picture(root / "images/P_1.png", 1)


def ham(root: Path) -> None:
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = [("HAM_1", "ISIC_1", "bkl", "histo", "80.0", "male", "scalp")]
    write_csv(root / "HAM10000_metadata.csv", columns, rows)
    write_picture(root / "HAM10000_images_part_1/ISIC_1.jpg", 1)


ISIC2018 = ("image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def isic2018(root: Path) -> None:
    for part, name, seed in (("Test", "ISIC_1", 1), ("Validation", "ISIC_2", 2)):
        hot = ["0.0"] * 7
        hot[seed - 1] = "1.0"
        write_csv(root / f"ISIC2018_Task3_{part}_GroundTruth.csv", ISIC2018, [[name, *hot]])
        write_picture(root / f"ISIC2018_Task3_{part}_Input/{name}.jpg", seed)


ISIC2019 = ("image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
ISIC2019_META = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")


def isic2019(root: Path) -> None:
    write_csv(root / "ISIC_2019_Training_GroundTruth.csv", ISIC2019, [
        ["ISIC_1", *"010000000"], ["ISIC_2", *"000000001"], ["ISIC_3", *"100000010"], ["ISIC_4", *"000000010"],
    ])  # fmt: skip
    write_csv(root / "ISIC_2019_Training_Metadata.csv", ISIC2019_META, [
        ("ISIC_1", "55.0", "anterior torso", "HAM_1", "female"), ("ISIC_2", "", "", "", ""),
        ("ISIC_3", "5", "", "", "male"), ("ISIC_9", "5", "", "", "male"),
    ])  # fmt: skip
    for n in (1, 4):
        write_picture(root / f"ISIC_2019_Training_Input/ISIC_{n}.jpg", n)


ISIC2020 = (
    "image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "diagnosis",
    "benign_malignant", "target",
)  # fmt: skip


def isic2020(root: Path) -> None:
    rows = [
        (f"ISIC_{n}", f"IP_{n % 2}", "male", "45.0", "head/neck", diagnosis, verdict, str(int(verdict == "malignant")))
        for n, (diagnosis, verdict) in enumerate(
            [("nevus", "benign"), ("melanoma", "malignant"), ("unknown", "benign"), ("nevus", "benign"),
             ("nevus", "malignant")], start=1)
    ]  # fmt: skip
    write_csv(root / "ISIC_2020_Training_GroundTruth.csv", ISIC2020, rows)
    pairs = [("ISIC_1", "ISIC_4"), ("ISIC_2", "ISIC_2"), ("ISIC_77", "ISIC_1")]
    write_csv(root / "ISIC_2020_Training_Duplicates.csv", ("image_name_1", "image_name_2"), pairs)
    for n in range(1, 6):
        write_picture(root / f"train/ISIC_{n}.jpg", n)


FITZ = (
    "md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label", "three_partition_label",
    "qc", "url", "url_alphanum",
)  # fmt: skip


def fitzpatrick17k(root: Path) -> None:
    write_csv(root / "fitzpatrick17k.csv", FITZ, [
        ("a" * 32, "5", "4", "psoriasis", "inflammatory", "non-neoplastic", "", "https://example.org/1.jpg", "1.jpg"),
        ("b" * 32, "-1", "2", "acne", "inflammatory", "non-neoplastic", "1 Diagnostic", "", ""),
        ("c" * 32, "6", "-1", "melanoma", "malignant melanoma", "malignant", "3 Wrongly labelled", "", ""),
        ("d" * 32, "6", "-1", "dragon pox", "inflammatory", "non-neoplastic", "", "", ""),
    ])  # fmt: skip
    for n, letter in enumerate("abcd"):
        write_picture(root / f"images/{letter * 32}.jpg", n)


def ddi(root: Path) -> None:
    write_csv(root / "ddi_metadata.csv", ("", "DDI_ID", "DDI_file", "skin_tone", "malignant", "disease"), [
        ("0", "1", "000001.png", "56", "True", "melanoma-in-situ"), ("1", "2", "000002.png", "12", "False", "wart"),
        ("2", "3", "000003.png", "34", "True", "wart"), ("3", "4", "000004.png", "44", "False", "wart"),
        ("4", "5", "000005.png", "34", "False", "unheard-of"),
    ])  # fmt: skip
    for n in range(1, 6):
        write_picture(root / f"00000{n}.png", n)


SCIN_CASES = (
    "case_id", "source", "release", "year", "age_group", "sex_at_birth", "fitzpatrick_skin_type", "body_parts_arm",
    "body_parts_leg", "related_category", "image_1_path", "image_2_path", "image_3_path", "image_1_shot_type",
)  # fmt: skip
SCIN_LABELS = (
    "case_id", "dermatologist_gradable_for_skin_condition_1", "weighted_skin_condition_label",
    "dermatologist_fitzpatrick_skin_type_label_1", "dermatologist_fitzpatrick_skin_type_label_2",
    "dermatologist_fitzpatrick_skin_type_label_3", "monk_skin_tone_label_india", "monk_skin_tone_label_us",
)  # fmt: skip


def scin(root: Path) -> None:
    images = [f"dataset/images/-{n}.png" for n in range(1, 5)]
    case = ("SCIN", "1.0.0", "2023")
    write_csv(root / "dataset/scin_cases.csv", SCIN_CASES, [
        ("11", *case, "AGE_18_TO_29", "FEMALE", "FST4", "YES", "", "RASH", images[0], images[1], "", "CLOSE_UP"),
        ("12", *case, "AGE_UNKNOWN", "OTHER_OR_UNSPECIFIED", "NONE_SELECTED", "YES", "YES", "", images[2], "", "", ""),
        ("13", *case, "", "", "", "", "", "", "", "", "", ""),
        ("14", *case, "", "", "", "", "", "", images[3], "", "", ""),
    ])  # fmt: skip
    write_csv(root / "dataset/scin_labels.csv", SCIN_LABELS, [
        ("11", "DEFAULT_YES", "{'Eczema': 0.69, 'Psoriasis': 0.31}", "FST5", "FST5", "FST4", "7.0", "8.0"),
        ("12", "DEFAULT_YES", "{'Eczema': 0.5, 'Tinea': 0.5}", "FST1", "FST2", "", "", ""),
        ("13", "DEFAULT_YES", "{'Urticaria': 1.0}", "", "", "", "", ""),
    ])  # fmt: skip
    for n, path in enumerate(images):
        write_picture(root / path, n)


PH2_HEADER = (
    "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | Dots/Globules | "
    "Streaks | Regression Areas | Blue-Whitish Veil ||           Colors ||"
)


def ph2(root: Path) -> None:
    def line(name: str, code: str) -> str:
        return f"|| {name} ||  || {code} || 0 | T | A | A | A | A || 3  4 ||"

    root.mkdir(parents=True, exist_ok=True)
    lines = [PH2_HEADER, line("IMD003", "0"), line("IMD009", "1"), line("IMD058", "2"), line("IMD060", "7")]
    legend = ["", "Clinical Diagnosis:", " 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma"]
    (root / "PH2_dataset.txt").write_text("\n".join(lines + legend), encoding="utf-8")
    for n in ("003", "009", "058", "060"):
        case = root / f"PH2 Dataset images/IMD{n}"
        write_picture(case / f"IMD{n}_Dermoscopic_Image/IMD{n}.bmp", int(n))
        write_picture(case / f"IMD{n}_lesion/IMD{n}_lesion.bmp", 100 + int(n))
        write_picture(case / f"IMD{n}_roi/IMD{n}_R1_Label3.bmp", 200 + int(n))


MINE: Mapping[str, Any] = {
    "licence": "CC-BY-4.0",
    "citation": "Our clinic, 2026",
    "modality": "clinical",
    "labels": {"naevus": "nevus", "mm": "melanoma", "rubbish": None},
}


def generic(root: Path) -> None:
    for n, path in enumerate(["naevus/1.png", "mm/2.png", "rubbish/3.png", "surprise/4.png"]):
        write_picture(root / path, n)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "pad_ufes_20": pad, "ham10000": ham, "isic2018_task3": isic2018, "isic2019": isic2019, "isic2020": isic2020,
    "fitzpatrick17k": fitzpatrick17k, "ddi": ddi, "scin": scin, "ph2": ph2, "generic": generic,
}  # fmt: skip
"""Every adapter of folders by name."""


class Table(NamedTuple):
    """One table of a layout: where it lies."""

    adapter: str
    path: str


TABLES = (
    Table("pad_ufes_20", "metadata.csv"), Table("ham10000", "HAM10000_metadata.csv"),
    Table("isic2018_task3", "ISIC2018_Task3_Test_GroundTruth.csv"),
    Table("isic2019", "ISIC_2019_Training_GroundTruth.csv"), Table("isic2019", "ISIC_2019_Training_Metadata.csv"),
    Table("isic2020", "ISIC_2020_Training_GroundTruth.csv"), Table("isic2020", "ISIC_2020_Training_Duplicates.csv"),
    Table("fitzpatrick17k", "fitzpatrick17k.csv"), Table("ddi", "ddi_metadata.csv"),
    Table("scin", "dataset/scin_cases.csv"), Table("scin", "dataset/scin_labels.csv"), Table("ph2", "PH2_dataset.txt"),
)  # fmt: skip


def params_of(adapter: str) -> dict[str, Any]:
    """Return what a source of that adapter needs in params.yaml, besides its path."""
    return dict(MINE) if adapter == "generic" else {}
