#!/bin/sh
# Builds the targets of fuzz/ and runs each for SECONDS (60), JOBS (2) at a time; arguments name the targets.
#
# The stable compiler can do what libFuzzer needs, with the flags cargo-fuzz would pass: no nightly, no cargo-fuzz. What is found
# lies in fuzz/artifacts; the input belongs into fuzz/corpus/TARGET once it is mended, where `cargo test` runs it for ever.
set -eu
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-60}
jobs=${JOBS:-2}
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')

# --target keeps the flags away from build scripts and macros, which are linked without libFuzzer.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=16 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
	"$cargo" build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$host"

[ $# -gt 0 ] || set -- $(ls fuzz/targets | sed 's/\.rs$//')
mkdir -p fuzz/target/logs fuzz/artifacts

one() {
	mkdir -p "fuzz/target/corpus/$1" "fuzz/artifacts/$1"
	# A package may take 512 MiB (rule 7 of the design) and 5 s; the rest is far below.
	"fuzz/target/$host/release/$1" "fuzz/target/corpus/$1" "fuzz/corpus/$1" "-artifact_prefix=fuzz/artifacts/$1/" \
		"-max_total_time=$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len=16384 -print_final_stats=1 \
		>"fuzz/target/logs/$1" 2>&1 || echo "fuzz: $1 FAILED: $(grep -m1 -E 'panicked|ERROR|SUMMARY' "fuzz/target/logs/$1" || tail -n 1 "fuzz/target/logs/$1")"
}

# One lane each, so that none waits for another's end.
lane=0
while [ "$lane" -lt "$jobs" ]; do
	(
		number=0
		for target; do
			if [ $((number % jobs)) = "$lane" ]; then one "$target"; fi
			number=$((number + 1))
		done
	) &
	lane=$((lane + 1))
done
wait

total=0 failed=
for target; do
	log=fuzz/target/logs/$target
	runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
	peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
	grep -q '^Done ' "$log" || failed="$failed $target"
	printf 'fuzz: %-11s %9s runs in %s s, %s MB at the peak, %s\n' "$target" "${runs:-0}" "$seconds" "${peak:-?}" \
		"$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)"
	total=$((total + ${runs:-0}))
done
echo "fuzz: $total runs in all"
if [ -n "$failed" ]; then
	for target in $failed; do
		echo "fuzz: the end of fuzz/target/logs/$target:" >&2
		tail -n 40 "fuzz/target/logs/$target" >&2
	done
	exit 1
fi
