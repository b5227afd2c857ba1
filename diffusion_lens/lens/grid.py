"""A labelled contact sheet: the images of a result in rows and columns, as one image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from diffusion_lens.lens.fonts import Font, find_font, wrap

__all__ = ["contact_sheet"]

_INK = "#1a1a1a"
_PALE = "#8a8a8a"
_GAP = 4
_TEXT = 15
_SMALL = 12
_CAPTION = 128
_LABEL = 240
_WIDEST = 12


def contact_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    title: str = "",
    cell: int | None = None,
    captions: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """Draw images in a grid with labels at the left and on top.

    More than 12 columns are broken into bands below each other, so that the sheet stays legible at the
    width of a page.

    Args:
        rows: images by row and column, each scaled to the cell; None draws an empty, crossed cell.
        row_labels: one by row; a label wraps to the row's height.
        column_labels: one by column.
        title: a line above, wrapped to the width.
        cell: the longer side of a cell in pixels; by default 160, or 112 where there are bands. Images are
            enlarged by whole factors where the cell allows it, so that small images keep their pixels.
        captions: what stands under each image, by row and column, its parts between bars below each other
            and cut to the width; none if empty.
    """
    # lines are broken by width alone
    row_labels, column_labels = (
        [" ".join(text.split()) for text in labels] for labels in (row_labels, column_labels)
    )
    bands = -(-len(column_labels) // _WIDEST) or 1
    wide = -(-len(column_labels) // bands)  # as even as can be
    cell = cell or (112 if bands > 1 else 160)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font = find_font(" ".join([title, *row_labels, *column_labels]), _TEXT)
    first = next((image for row in rows for image in row if image is not None), None)
    width, height = _fit(first.size if first else (1, 1), cell)
    under = [[_parts(text) for text in row] for row in captions]
    most = max((len(parts) for row in under for parts in row), default=0)
    small = find_font(" ".join(text for row in captions for text in row), _SMALL)
    strip = most * (_SMALL + 2)
    # labels and words need room, which small images leave beside them
    labelled = max((pen.textlength(text, font) for text in column_labels), default=0)
    width = max(width, int(labelled), min(_CAPTION, cell) if most else 0)
    label = min(max((pen.textlength(text, font) for text in row_labels), default=0), _LABEL)
    left = int(label) + 3 * _GAP if label else _GAP
    total = left + wide * (width + _GAP)
    heading = wrap(title, float(total - 2 * _GAP), lambda line: pen.textlength(line, font))
    top = len(heading) * (_TEXT + _GAP) + _GAP
    band = _TEXT + 3 * _GAP + len(rows) * (height + strip + _GAP)
    sheet = Image.new("RGB", (total, top + bands * band), "white")
    pen = ImageDraw.Draw(sheet)
    for line, text in enumerate(heading):
        pen.text((_GAP, _GAP + line * (_TEXT + _GAP)), text, _INK, font)
    for index in range(bands):
        part = slice(index * wide, (index + 1) * wide)
        corner = (left, top + index * band + _TEXT + 3 * _GAP)
        for column, text in enumerate(column_labels[part]):
            x = left + column * (width + _GAP) + width // 2
            pen.text((x, corner[1] - 2 * _GAP), text, _INK, font, anchor="ms")
        size = (width, height)
        _paste(sheet, [row[part] for row in rows], row_labels, font, corner, size, strip)
        for place, texts in enumerate([row[part] for row in under] if most else []):
            below = corner[1] + place * (height + strip + _GAP) + height
            for column, parts in enumerate(texts):
                x = corner[0] + column * (width + _GAP)
                for line, text in enumerate(parts):
                    cut = _cut(pen, text, small, float(width))
                    pen.text((x + width // 2, below + line * (_SMALL + 2)), cut, _INK, small, anchor="ma")
    return sheet


def _paste(
    sheet: Image.Image,
    rows: Sequence[Sequence[Image.Image | None]],
    labels: Sequence[str],
    font: Font,
    corner: tuple[int, int],
    size: tuple[int, int],
    strip: int,
) -> None:
    """Draw rows and their labels, the first image at a corner, and leave a strip below each row."""
    pen = ImageDraw.Draw(sheet)
    width, height = size
    for index, (row, text) in enumerate(zip(rows, labels, strict=True)):
        y = corner[1] + index * (height + strip + _GAP)
        lines = wrap(text, float(_LABEL), lambda line: pen.textlength(line, font))
        for line, part in enumerate(lines):
            offset = height / 2 + (line - len(lines) / 2 + 0.5) * (_TEXT + 2)
            pen.text((corner[0] - 2 * _GAP, y + offset), part, _INK, font, anchor="rm")
        for column, image in enumerate(row):
            x = corner[0] + column * (width + _GAP)
            if image is None:
                pen.rectangle((x, y, x + width - 1, y + height - 1), outline=_PALE)
                pen.line((x, y, x + width - 1, y + height - 1), _PALE)
                continue
            scaled = _scale(image, (round(image.width * height / image.height), height))
            sheet.paste(scaled, (x + (width - scaled.width) // 2, y))


def _fit(size: tuple[int, int], cell: int) -> tuple[int, int]:
    longer = max(size)
    scale = max(1, cell // longer) if longer <= cell else cell / longer
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scale(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarged = size[0] >= image.width
    how = Image.Resampling.BICUBIC if enlarged else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, how)


def _parts(text: object) -> list[str]:
    """The lines of a caption; a missing one has none."""
    return [" ".join(part.split()) for part in text.split("|")] if isinstance(text, str) and text else []


def _cut(pen: ImageDraw.ImageDraw, text: str, font: Font, width: float) -> str:
    """A text, with an ellipsis in the place of what does not fit into a width."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(f"{text}\u2026", font) > width:
        text = text[:-1]
    return f"{text}\u2026"
