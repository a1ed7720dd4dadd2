#!/usr/bin/env bash
# PyYAML: what `safe_dump(…, allow_unicode=True)` writes is not always what `safe_load` reads.
#
# One would expect that a string that is dumped and loaded comes back, since both ends are the same library and the
# string is valid in YAML. A string that holds U+0085 (NEXT LINE, which text from mainframes and some editors has) is
# put into single quotes with the character as it is, where the reader takes it for a line break and folds it into a
# space. Without `allow_unicode` it is escaped in double quotes, and comes back. It matters wherever user text is kept
# as readable YAML: the loss is silent, and a check for equality with ASCII samples does not show it. Writers that need
# `allow_unicode` have to force double quotes for such strings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyyaml==6.0.3
"$folder/venv/bin/python" - <<'PROGRAM'
import sys
import yaml

text = "first\x85second"
readable = yaml.safe_dump(text, allow_unicode=True)
escaped = yaml.safe_dump(text)
print("PyYAML", yaml.__version__)
print("allow_unicode=True writes", ascii(readable), "and reads", ascii(yaml.safe_load(readable)))
print("the default writes", ascii(escaped), "and reads", ascii(yaml.safe_load(escaped)))
changed = yaml.safe_load(readable) == text or yaml.safe_load(escaped) != text
sys.exit("The behaviour has changed." if changed else 0)
PROGRAM
