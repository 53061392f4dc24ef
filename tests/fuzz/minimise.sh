#!/bin/sh
# Makes the corpora small enough to be committed: a small set of inputs that reaches all the code
# that all of them reach, however often each runs through it. Names targets, or takes all.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- packets cuts conversation topics proxy upgrade frames
for target in "$@"; do
    corpus=tests/fuzz/corpus/$target
    mkdir "$corpus.new"
    cargo +nightly fuzz run --fuzz-dir tests/fuzz -s none "$target" "$corpus.new" "$corpus" -- \
        -set_cover_merge=1 -use_counters=0
    # What failed once stays, whatever else reaches the same code.
    find "$corpus" -name 'found-*' -exec cp {} "$corpus.new" \;
    rm -r "$corpus"
    mv "$corpus.new" "$corpus"
    echo "$target: $(ls "$corpus" | wc -l) inputs, $(du -sb "$corpus" | cut -f1) bytes"
done
