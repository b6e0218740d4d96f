#!/bin/sh
# How long `pasteup can-i-deploy --offline` takes with 1,000 nanoservices on 200 pages: scripts/can-i-deploy.sh [BINARY]
set -eu
binary=${1:-target/release/pasteup}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
mkdir "$site/layouts" "$site/fragments"
number=0
while [ "$number" -lt 1000 ]; do
    mkdir "$site/fragments/f$number"
    composes=""
    [ $((number % 50)) -ne 1 ] || composes='composes = ["f0"]'
    printf 'name = "f%s"\nversion = "1.0.0"\nendpoint = "http://127.0.0.1:9/f%s"\ncontext = ["locale"]\n%s\n[params.city]\npattern = "[a-z-]+"\n' \
        "$number" "$number" "$composes" > "$site/fragments/f$number/fragment.toml"
    number=$((number + 1))
done
sed 's/1\.0\.0/1.1.0/' "$site/fragments/f0/fragment.toml" > "$site/next.toml"
number=0
while [ "$number" -lt 200 ]; do
    {
        printf '+++\nroute = "/p%s"\n+++\n' "$number"
        part=0
        while [ "$part" -lt 10 ]; do
            printf '<fragment name="f%s" version="^1" data-city="x">-</fragment>\n' $(((number * 5 + part) % 1000))
            part=$((part + 1))
        done
        printf '<fragment name="f0" data-city="y">-</fragment>\n'
    } > "$site/layouts/p$number.html"
    number=$((number + 1))
done
"$binary" --site "$site" update > /dev/null
for run in 1 2 3 4 5; do
    start=$(date +%s%N)
    "$binary" --site "$site" can-i-deploy f0@1.1.0 --manifest "$site/next.toml" --offline > /dev/null 2>&1 || true
    echo "run $run: $((($(date +%s%N) - start) / 1000000)) ms"
done
