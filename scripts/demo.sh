#!/usr/bin/env bash
# The whole way on simulated logs: simulate, preprocess, train, evaluate, export, serve, query.
# Everything it makes is below the directory given as its argument; an earlier demo there is replaced.
set -euo pipefail
run=${1:-demo-run}
python=${PYTHON:-.venv/bin/python}
if [ -e "$run" ]; then
  [ -e "$run/.demo" ] || { echo "error: found $run, which is no earlier demo; expected it not to exist" >&2; exit 1; }
  echo "replacing the earlier demo in $run"
  rm -rf "$run"
fi
mkdir -p "$run"
touch "$run/.demo"

step() { printf '\n== %s\n' "$*"; }

step simulate
"$python" -m preprocessing.simulate --output="$run/logs"

step preprocess
"$python" -m preprocessing.run --events="$run/logs/events" --videos="$run/logs/videos.parquet" \
  --users="$run/logs/users.parquet" --output="$run/dataset"

step train and evaluate
"$python" -m trainer.task --dataset="$run/dataset" --workdir="$run/train" \
  --compare_lists="$run/logs/truth.parquet"

step export
"$python" -m serving.export --workdir="$run/train" --output="$run/models/retrieval"

step serve
"$python" -m serving.server --model_base_path="$run/models/retrieval" --model_name=retrieval \
  --port="${PORT:-8500}" --rest_api_port="${REST_PORT:-8501}" > "$run/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 120); do
  grep -q '^serving ' "$run/server.log" && break
  kill -0 "$server" 2>/dev/null || { cat "$run/server.log" >&2; exit 1; }
  sleep 0.5
done
cat "$run/server.log"

step query
"$python" -m serving.query --server="localhost:${PORT:-8500}" --model_name=retrieval \
  --dataset="$run/dataset"
