#!/usr/bin/env bash
# Typer's errors are no longer Click's.
#
# One would expect `except click.UsageError` around a Typer app that runs with `standalone_mode=False` to catch a
# missing argument: Typer was a layer over Click for years, and its documentation taught this. Typer now contains its
# own copy of Click, so the classes differ even where both packages are installed, and a missing argument passes every
# handler that names `click`. `click.get_current_context()` likewise finds no context inside a Typer command. A program
# that maps usage errors to its own exit code must catch them through `typer` or leave `standalone_mode` on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'typer==0.29.2' 'click==8.5.1'
cat > "$folder/program.py" <<'PY'
import click
import typer

app = typer.Typer()


@app.command()
def greet(name: str) -> None:
    try:
        click.get_current_context()
        print("click knows the context")
    except RuntimeError as error:
        print(f"click: {error}")


command = typer.main.get_command(app)
try:
    command.main([], standalone_mode=False)
except click.UsageError:
    print("click.UsageError caught it")
except Exception as error:
    print(f"not caught by click.UsageError: {type(error).__module__}.{type(error).__name__}")
command.main(["you"], standalone_mode=False)
PY
"$folder/venv/bin/pip" list 2>/dev/null | grep -iE '^(typer|click) ' || true
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='not caught by click.UsageError: typer._click.exceptions.MissingParameter
click: There is no active click context.'
[ "$seen" = "$expected" ] || { echo "This has changed; expected:"; echo "$expected"; exit 1; }
