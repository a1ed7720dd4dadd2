"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

from tests.meta import sizes


def test_every_file_and_function_keeps_its_limit() -> None:
    assert sizes.too_long(sizes.file_sizes(), sizes.body_sizes()) == []


def test_a_body_is_counted_without_its_docstring_and_with_what_is_nested() -> None:
    source = 'def outer():\n    """Says."""\n    def inner():\n        return 1\n\n    return inner\n'
    assert list(sizes.bodies(source)) == [("outer", 4), ("inner", 1)]


def test_overlong_code_is_named() -> None:
    file = sizes.Size("server", sizes.FILE_LINES, "server/a.py")
    function = sizes.Size("server", sizes.BODY_LINES, "server/a.py:run")
    assert [sentence.split()[0] for sentence in sizes.too_long([file], [function])] == [
        "server/a.py",
        "server/a.py:run",
        "One",
    ]


def test_nine_functions_in_ten_are_at_or_below_the_percentile() -> None:
    assert sizes.percentile_90([sizes.Size("x", lines, "") for lines in range(1, 11)]) == 9
