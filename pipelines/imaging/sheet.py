"""Contact sheets: a labelled grid of small pictures, with what is missing drawn as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Cells = Mapping[tuple[str, str], Sequence[Pixels]]

PAPER: Final = (255, 255, 255)
INK: Final = (32, 36, 44)
FAINT: Final = (108, 114, 126)
HATCH: Final = (206, 210, 217)
HATCH_GROUND: Final = (246, 247, 249)
GAP: Final = 2
PAD: Final = 10
FONT_PX: Final = 13
TITLE_PX: Final = 16
EMPTY_SIDE: Final = 64  # px, when no cell holds a picture


@dataclass(frozen=True)
class _Layout:
    """Everything that has a size, in px of the finished sheet."""

    side: int  # of one picture
    left: int  # of the first cell
    top: int
    cell_width: int
    cell_height: int
    slots: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        return self.left + column * (self.cell_width + PAD), self.top + row * (self.cell_height + PAD)


def contact_sheet(
    cells: Cells, rows: Sequence[str], columns: Sequence[str], *, per_cell: int, scale: int = 1, title: str = ""
) -> Image.Image:
    """Return an RGB picture: one row of cells for each of `rows`, `per_cell` pictures side by side in each cell.

    Pictures are uint8 (r, r, 3) sRGB, all of one size, enlarged `scale` times without smoothing. Those beyond
    `per_cell` are left out; a cell with none is hatched and says "none", so that a missing stratum cannot be
    overlooked. Labels are written in full: underscores become spaces and long column heads are broken into lines.

    Raises:
        ValueError: per_cell or scale is below 1, there is no row or column, or pictures differ in size.
    """
    if per_cell < 1 or scale < 1 or not rows or not columns:
        raise ValueError(
            f"got {len(rows)} rows, {len(columns)} columns, per_cell {per_cell}, scale {scale}; need 1 or more of each"
        )
    font, heading = ImageFont.load_default(size=FONT_PX), ImageFont.load_default(size=TITLE_PX)
    heads = [_words(column) for column in columns]
    layout = _lay_out(_side(cells) * scale, per_cell, rows, heads, font, bool(title))
    right, bottom = layout.corner(len(rows) - 1, len(columns) - 1)
    width = right + layout.cell_width + PAD
    if title:
        width = max(width, round(heading.getlength(title)) + 2 * PAD)
    sheet = Image.new("RGB", (width, bottom + layout.cell_height + PAD), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((PAD, PAD), title, INK, heading)
    for j, head in enumerate(heads):
        _write_head(draw, layout, j, head, font)
    for i, row in enumerate(rows):
        _, y = layout.corner(i, 0)
        draw.text((PAD, y + layout.cell_height / 2), row.replace("_", " "), INK, font, anchor="lm")
        for j, column in enumerate(columns):
            _fill(sheet, draw, layout, layout.corner(i, j), cells.get((row, column), ())[:per_cell], font)
    return sheet


def strip(pictures: Sequence[Pixels], *, gap: int = GAP) -> Pixels:
    """Return pictures (r, r, 3) side by side as uint8 (r, w, 3), `gap` white px between them; at least one."""
    side = pictures[0].shape[0]
    sheet = np.full((side, len(pictures) * (side + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        sheet[:, i * (side + gap) : i * (side + gap) + side] = picture
    return sheet


def _side(cells: Cells) -> int:
    sizes = sorted({picture.shape for pictures in cells.values() for picture in pictures})
    if len(sizes) > 1 or (sizes and (len(sizes[0]) != 3 or sizes[0][0] != sizes[0][1] or sizes[0][2] != 3)):
        raise ValueError(f"got pictures of shapes {sizes}; one square size (r, r, 3) is needed; resample them first")
    return sizes[0][0] if sizes else EMPTY_SIDE


def _words(label: str) -> list[str]:
    return label.replace("_", " ").split(" ")


def _lay_out(
    side: int, slots: int, rows: Sequence[str], heads: Sequence[list[str]], font: Any, titled: bool
) -> _Layout:
    longest_word = max(font.getlength(word) for head in heads for word in head)
    cell_width = max(slots * (side + GAP) - GAP, round(longest_word))
    lines = max(len(_broken(head, cell_width, font)) for head in heads)
    left = 2 * PAD + round(max(font.getlength(row.replace("_", " ")) for row in rows))
    top = PAD + (TITLE_PX + PAD if titled else 0) + lines * (FONT_PX + 3) + PAD // 2
    return _Layout(side, left, top, cell_width, max(side, FONT_PX + 2), slots)


def _broken(words: list[str], width: int, font: Any) -> list[str]:
    """Return the words as lines no wider than `width` px (a single longer word keeps its own line)."""
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write_head(draw: ImageDraw.ImageDraw, layout: _Layout, column: int, head: list[str], font: Any) -> None:
    x, _ = layout.corner(0, column)
    lines = _broken(head, layout.cell_width, font)
    for k, line in enumerate(reversed(lines)):
        draw.text((x + layout.cell_width / 2, layout.top - PAD // 2 - k * (FONT_PX + 3)), line, INK, font, anchor="md")


def _fill(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    layout: _Layout,
    corner: tuple[int, int],
    pictures: Sequence[Pixels],
    font: Any,
) -> None:
    x, y = corner
    if not pictures:
        _hatch(sheet, (x, y), layout.cell_width, layout.cell_height)
        centre = (x + layout.cell_width / 2, y + layout.cell_height / 2)
        box = draw.textbbox(centre, "none", font, anchor="mm")
        draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), HATCH_GROUND)
        draw.text(centre, "none", FAINT, font, anchor="mm")
        return
    x += (
        layout.cell_width - layout.slots * (layout.side + GAP) + GAP
    ) // 2  # centred where a long head widens the cell
    for k in range(layout.slots):
        at = (x + k * (layout.side + GAP), y)
        if k < len(pictures):
            picture = Image.fromarray(np.ascontiguousarray(pictures[k]))
            sheet.paste(picture.resize((layout.side, layout.side), Image.Resampling.NEAREST), at)
        else:
            _hatch(sheet, at, layout.side, layout.side)


def _hatch(sheet: Image.Image, corner: tuple[int, int], width: int, height: int) -> None:
    """Diagonal lines, drawn on a tile of their own so that they stop at its edge."""
    tile = Image.new("RGB", (width, height), HATCH_GROUND)
    draw = ImageDraw.Draw(tile)
    for start in range(-height, width, 8):
        draw.line((start, height, start + height, 0), HATCH, 1)
    draw.rectangle((0, 0, width - 1, height - 1), outline=HATCH)
    sheet.paste(tile, corner)
