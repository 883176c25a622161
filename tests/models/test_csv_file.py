"""A table is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.card import functional_files
from models.csv_file import write_csv


def test_rows_lie_under_their_names(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    write_csv(path, ["case", "dice"], [["a", 0.5], ["b, c", None]])
    assert path.read_bytes() == b'case,dice\na,0.5\n"b, c",\n'
    assert [one.name for one in path.parent.iterdir()] == ["table.csv"]


def test_an_interruption_leaves_the_old_table_and_the_seal_and_what_was_computed_beside_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old\n")

    def rows() -> Iterator[list[str]]:
        yield ["a"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(path, ["case"], rows())
    assert path.read_text() == "old\n"
    assert (tmp_path / "table.part.csv").read_text() == "case\na\n"
    assert functional_files(tmp_path) == []
