# The few commands of a day's work; `just` lists them. `bash tests/run.sh` once makes .venv.

python := ".venv/bin/python"

# List the commands
default:
    @just --list

# Serve the page at http://127.0.0.1:7860
serve:
    {{python}} app.py

# Run ruff, mypy and the fast unit tests
fast *arguments:
    bash tests/run.sh --fast {{arguments}}

# Run every test
test *arguments:
    bash tests/run.sh {{arguments}}

# Write model_card.md, the cards of the checkpoints and the README's table again
card:
    {{python}} -m train.card

# Attack the app and write docs/HARDENING.md
attack *arguments:
    {{python}} -m tests.attack {{arguments}}

# Make the pictures of the documents again, or with --states FOLDER a picture of every state of the page
pictures *arguments:
    {{python}} -m tests.browser.pictures {{arguments}}

# Measure Vigil beside its peers and write docs/BENCHMARKS.md
benchmarks *arguments:
    {{python}} -m benchmarks {{arguments}}

# Write the plan for large runs in docs/SCALE.md again
plan *arguments:
    {{python}} -m benchmarks.plan {{arguments}}

# Run the app as a Space would
space:
    {{python}} -m tests.space
